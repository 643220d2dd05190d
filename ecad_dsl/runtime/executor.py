"""Routing the calls of component modules: recompute and keep, or hand back what was kept.

Each component module is shadowed in the ``__dict__`` of its parent: ``block.attn1`` finds the instance
dictionary before ``nn.Module`` looks among its registered modules, so the block calls the route, while
``state_dict``, ``to``, ``named_modules`` and everything else that walks the registered modules never sees it.
A component that is reused is not called at all.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec
from ecad_dsl.runtime.inspect import block_counts
from ecad_dsl.runtime.plan import READ, RUN, RUN_STORE, plan
from ecad_dsl.schedule.schedule import Schedule


class Executor:
    """The routes of one transformer, and where in the generation it is.

    It does not know what a step is: a clock (see ``clock.py``) calls ``restart``, ``begin_forward`` and ``advance``.
    """

    def __init__(self, transformer: nn.Module, spec: ModelSpec) -> None:
        """Find the components. Nothing is changed until ``attach``.

        Raises:
            EcadError: the spec does not fit the module, or a component cannot be shadowed.
        """
        self.transformer = transformer
        self.spec = spec
        self.schedule: Schedule | None = None
        self.step = 0
        """The step of the running generation; equal to ``schedule.steps`` once all of them are done."""
        self.call = -1
        """The transformer call within the step (sequential guidance makes several), -1 before the first."""
        self.forwards = 0
        """Transformer calls so far. Tells a second call of a component from one in the next forward pass."""
        self.shape: torch.Size | None = None
        """Shape of the input of this transformer call."""
        self._cells = [Cell(self, bit, parent, name) for bit, parent, name in _components(transformer, spec)]

    def load(self, schedule: Schedule) -> None:
        """Follow this schedule from now on."""
        if schedule is not self.schedule:
            self.schedule = schedule
            ops = plan(schedule).ops
            for cell in self._cells:
                cell.ops = ops[cell.bit]

    def attach(self) -> None:
        """Put the routes in place; also again where somebody replaced a component (loading a LoRA does).

        Raises:
            EcadError: another executor's routes are there.
        """
        for cell in self._cells:
            cell.attach()

    def detach(self) -> None:
        """Leave the transformer as it was, and let go of everything kept."""
        for cell in self._cells:
            cell.detach()

    def restart(self) -> None:
        """Step 0 of a new generation: nothing is kept."""
        self.step, self.call = 0, -1
        for cell in self._cells:
            cell.outputs.clear()
        self.attach()

    def advance(self) -> None:
        """The next step of the generation."""
        self.step += 1
        self.call = -1

    def begin_forward(self, shape: torch.Size | None) -> None:
        """Another call of the transformer within the step, with an input of this shape."""
        self.call += 1
        self.forwards += 1
        self.shape = shape


class Cell:
    """One component of one block: what it does at each step, and the outputs that it keeps."""

    __slots__ = ("_executor", "_last_forward", "_module", "_name", "_parent", "bit", "ops", "outputs", "route")

    def __init__(self, executor: Executor, bit: int, parent: nn.Module, name: str) -> None:
        self._executor = executor
        self._parent = parent
        self._name = name
        self._module: nn.Module = parent._modules[name]  # type: ignore[assignment]
        self._last_forward = -1
        self.bit = bit
        self.ops = bytes([RUN])
        self.outputs: dict[int, tuple[torch.Size | None, Any]] = {}
        """Kept outputs by transformer call within the step, each with the shape of the transformer's input."""
        self.route = Route(self)

    def attach(self) -> None:
        there = self._parent.__dict__.get(self._name, self.route)
        if there is not self.route:
            raise EcadError("this transformer is already under a schedule; leave that `with ecad.apply(...)` first")
        self._module = self._parent._modules[self._name]  # type: ignore[assignment]
        self._parent.__dict__[self._name] = self.route

    def detach(self) -> None:
        if self._parent.__dict__.get(self._name) is self.route:
            del self._parent.__dict__[self._name]
        self.outputs.clear()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The component's output at this step, computed or kept. It is the very object the module returned."""
        executor = self._executor
        op = self.ops[executor.step]
        if op == RUN:
            return self._module(*args, **kwargs)
        if self._last_forward == executor.forwards:
            raise EcadError(
                f"{self} was called twice in one transformer call, so its output cannot be cached;"
                " turn feed-forward chunking and gradient checkpointing off"
            )
        self._last_forward = executor.forwards
        if op == RUN_STORE:
            output = self._module(*args, **kwargs)
            self.outputs[executor.call] = (executor.shape, output)
            return output
        kept = self.outputs.get(executor.call) if op == READ else self.outputs.pop(executor.call, None)
        if kept is None or kept[0] != executor.shape:
            raise self._unreadable(kept)
        return kept[1]

    def _unreadable(self, kept: tuple[torch.Size | None, Any] | None) -> EcadError:
        executor = self._executor
        here = f"step {executor.step} reuses {self}"
        if kept is None:
            return EcadError(
                f"{here} in call {executor.call + 1} of the transformer, but the step that computed it made fewer"
                " calls, so nothing is kept; make as many transformer calls (guidance) in every step"
            )
        before, now = (None if shape is None else tuple(shape) for shape in (kept[0], executor.shape))
        return EcadError(
            f"{here}, but it was computed for an input of shape {before} and the input now is {now};"
            " recompute all components at the step where the batch or the resolution changes"
        )

    def __str__(self) -> str:
        bit = self.bit
        for stack in self._executor.spec.stacks:
            size = stack.blocks * len(stack.components)
            if bit < size:
                block, component = divmod(bit, len(stack.components))
                return f"{stack.components[component].name} ({self._name}) of {stack.name} {block}"
            bit -= size
        raise AssertionError("a cell lies in one of the stacks")


class Route:
    """Stands in for a component module in its parent: a call goes to the cell, all else to the module."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        object.__setattr__(self, "_cell", cell)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._cell.run(*args, **kwargs)

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """The module's, so that isinstance holds: get_submodule (and with it PEFT) insists on an nn.Module."""
        return type(self._cell._module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cell._module, name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """A copy of the parent gets the copied module itself: the copy is not under the schedule."""
        return copy.deepcopy(self._cell._module, memo)


def _components(transformer: nn.Module, spec: ModelSpec) -> Iterator[tuple[int, nn.Module, str]]:
    """Bit, parent and attribute of every component. A block may lack one: SD3's last has no text feed-forward."""
    _check_blocks(transformer, spec)
    bit = -1
    for stack in spec.stacks:
        for index, block in enumerate(getattr(transformer, stack.path)):
            for component in stack.components:
                bit += 1
                *path, name = component.module.split(".")
                parent = block
                for attribute in path:
                    parent = getattr(parent, attribute, None)
                where = f"{stack.path}[{index}].{component.module}"
                if isinstance(parent, nn.ModuleList | nn.ModuleDict | nn.Sequential):
                    raise EcadError(f"{where} is an item of a {type(parent).__name__} and cannot be cached")
                if not isinstance(parent, nn.Module) or name not in parent._modules and not hasattr(parent, name):
                    raise EcadError(f"{type(transformer).__name__} is not built like {spec.title}: it has no {where}")
                if parent._modules.get(name) is not None:
                    yield bit, parent, name


def _check_blocks(transformer: nn.Module, spec: ModelSpec) -> None:
    counts = block_counts(transformer, spec)
    if all(stack.blocks == counts[stack.name] for stack in spec.stacks):
        return
    wanted = ", ".join(f"{stack.blocks} {stack.name}" for stack in spec.stacks)
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    raise EcadError(
        f"the schedule is made for {spec.title} ({wanted}), but this {type(transformer).__name__} has {found};"
        " compile the program for this model: ecad.compile(program, model=pipe)"
    )
