"""Routing the calls of component modules: recompute and keep, or hand back what was kept.

Each component module is shadowed in the ``__dict__`` of its parent: ``block.attn1`` finds the instance
dictionary before ``nn.Module`` looks among its registered modules, so the block calls the route, while
``state_dict``, ``to``, ``named_modules`` and everything else that walks the registered modules never sees it.
A component that is reused is not called at all, and neither is a norm that prepares nobody's input: the route hands out
a stand-in, one token of its input, on which the arithmetic that would follow costs next to nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache, reduce
from itertools import chain
from typing import Any

import torch
from torch import nn

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec
from ecad_dsl.runtime.inspect import block_counts
from ecad_dsl.schedule.plan import READ, RUN, RUN_STORE, SKIP, STORE, plan
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
        self._cells = [Cell(self, (bit,), parent, name) for bit, parent, name in _components(transformer, spec)]
        self._norms = [Cell(self, bits, parent, name) for bits, parent, name in _norms(transformer, spec)]

    def load(self, schedule: Schedule) -> None:
        """Follow this schedule from now on."""
        if schedule is not self.schedule:
            self.schedule = schedule
            planned = plan(schedule)
            for cell in self._cells:
                cell.ops = planned.ops[cell.bits[0]]
            for norm in self._norms:
                norm.ops = planned.needed(norm.bits)

    def attach(self) -> None:
        """Put the routes in place; also again where somebody replaced a component (loading a LoRA does).

        Raises:
            EcadError: another executor's routes are there.
        """
        for cell in chain(self._cells, self._norms):
            cell.attach()

    def detach(self) -> None:
        """Leave the transformer as it was, and let go of everything kept."""
        for cell in chain(self._cells, self._norms):
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
        """Another call of the transformer within the step, with an input of this shape.

        Raises:
            EcadError: gradient checkpointing would run the blocks again later, in the backward pass.
        """
        if torch.is_grad_enabled() and getattr(self.transformer, "gradient_checkpointing", False):
            raise EcadError(
                "gradient checkpointing runs blocks again in the backward pass, when the step is over;"
                " call disable_gradient_checkpointing() on the transformer, or run it under torch.no_grad()"
            )
        self.call += 1
        self.forwards += 1
        self.shape = shape


class Cell:
    """One component of one block: what it does at each step, and the outputs that it keeps.

    Or a norm, which runs where any of the components with these bits does and keeps nothing.
    """

    __slots__ = ("bits", "executor", "last_forward", "module", "name", "ops", "outputs", "parent", "route")

    def __init__(self, executor: Executor, bits: tuple[int, ...], parent: nn.Module, name: str) -> None:
        self.executor = executor
        self.parent = parent
        self.name = name
        self.module: nn.Module = parent._modules[name]  # type: ignore[assignment]
        self.route = _route(self)
        self.last_forward = -1
        self.bits = bits
        self.ops = bytes([RUN])
        self.outputs: dict[int, tuple[torch.Size | None, Any]] = {}
        """Kept outputs by transformer call within the step, each with the shape of the transformer's input."""

    def attach(self) -> None:
        if self.parent.__dict__.get(self.name, self.route) is not self.route:
            raise EcadError("this transformer is already under a schedule; leave that `with ecad.apply(...)` first")
        registered = self.parent._modules[self.name]
        if registered is not None and registered is not self.module:
            self.module = registered
            self.route = _route(self)
        self.parent.__dict__[self.name] = self.route

    def detach(self) -> None:
        if self.parent.__dict__.get(self.name) is self.route:
            del self.parent.__dict__[self.name]
        self.outputs.clear()

    def unreadable(self, kept: tuple[torch.Size | None, Any] | None) -> EcadError:
        executor = self.executor
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
        bit = self.bits[0]
        for stack in self.executor.spec.stacks:
            size = stack.blocks * len(stack.components)
            if bit < size:
                block, component = divmod(bit, len(stack.components))
                return f"{stack.components[component].name} ({self.name}) of {stack.name} {block}"
            bit -= size
        raise AssertionError("a cell lies in one of the stacks")


class Route:
    """Stands in for a component module in its parent: of the same class and state, but a call follows the plan.

    The instance shares the module's ``__dict__``, so that whatever is read, set, hooked or loaded through the
    parent's attribute happens to the module itself.
    """

    __slots__ = ("_cell",)
    _cell: Cell

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The component's output at this step, computed or kept. It is the very object the module returned."""
        cell = self._cell
        executor = cell.executor
        op = cell.ops[executor.step]
        if op == RUN:
            return cell.module(*args, **kwargs)
        if op == SKIP:
            return _stand_in(args, kwargs)
        if cell.last_forward == executor.forwards:
            raise EcadError(
                f"{cell} was called twice in one transformer call, so its output cannot be cached;"
                " turn feed-forward chunking off"
            )
        cell.last_forward = executor.forwards
        call = executor.call
        if op in (RUN_STORE, STORE):
            output = cell.module(*args, **kwargs)
            cell.outputs[call] = (executor.shape, output)
            return output if op == RUN_STORE else _stand_in(args, kwargs)
        kept = cell.outputs.get(call) if op == READ else cell.outputs.pop(call, None)
        if kept is None or kept[0] != executor.shape:
            raise cell.unreadable(kept)
        return kept[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """A copy of the parent gets the copied module itself: the copy is not under the schedule."""
        module: nn.Module = copy.deepcopy(self._cell.module, memo)
        return module


def _stand_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """In place of an output that nobody reads: the first token of the input, [batch, 1, width].

    What other arithmetic the block does with it comes out in shapes that fit, at the price of one token.
    """
    return next(value[:, :1] for value in chain(args, kwargs.values()) if isinstance(value, torch.Tensor))


def _route(cell: Cell) -> Route:
    route: Route = object.__new__(_route_class(type(cell.module)))  # type: ignore[arg-type]
    object.__setattr__(route, "_cell", cell)
    object.__setattr__(route, "__dict__", cell.module.__dict__)
    return route


@cache
def _route_class(module_class: type[nn.Module]) -> type[Route]:
    """The module's own class, but for the call."""
    return type(module_class.__name__, (Route, module_class), {})


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
                if not isinstance(parent, nn.Module) or not hasattr(parent, name):
                    raise EcadError(f"{type(transformer).__name__} is not built like {spec.title}: it has no {where}")
                if parent._modules.get(name) is not None:
                    yield bit, parent, name


def _norms(transformer: nn.Module, spec: ModelSpec) -> Iterator[tuple[tuple[int, ...], nn.Module, str]]:
    """Bits of the components that it feeds, parent and attribute of every norm. A block may lack one."""
    for stack in spec.stacks:
        first, names = spec.offsets[stack.name], [component.name for component in stack.components]
        fed: dict[str, list[int]] = {}
        for index, component in enumerate(stack.components):
            for norm in component.norms:
                fed.setdefault(norm, []).append(index)
        for block_index, block in enumerate(getattr(transformer, stack.path)):
            for norm, indices in fed.items():
                *path, name = norm.split(".")
                parent = reduce(lambda module, attribute: getattr(module, attribute, None), path, block)
                if isinstance(parent, nn.Module) and parent._modules.get(name) is not None:
                    yield tuple(first + block_index * len(names) + index for index in indices), parent, name


def _check_blocks(transformer: nn.Module, spec: ModelSpec) -> None:
    counts = block_counts(transformer, spec)
    if all(stack.blocks == counts[stack.name] for stack in spec.stacks):
        return
    wanted = ", ".join(f"{stack.blocks} {stack.name}" for stack in spec.stacks)
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    raise EcadError(
        f"the schedule is made for {spec.title} ({wanted}), but this {type(transformer).__name__} has {found};"
        " compile the program for this model: ecad.compile(program, model=ecad.inspect(pipe))"
    )
