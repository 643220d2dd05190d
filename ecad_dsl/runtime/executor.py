"""Routing the calls of component modules: recompute and keep, or hand back what was kept.

Each component module is shadowed in the ``__dict__`` of its parent: ``block.attn1`` finds the instance
dictionary before ``nn.Module`` looks among its registered modules, so the block calls the route, while
``state_dict``, ``to``, ``named_modules`` and everything else that walks the registered modules never sees it.
A component that is reused is not called at all, and neither is a norm that prepares nobody's input: the route hands out
a stand-in, one token, on which the arithmetic that would follow costs next to nothing.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import nn

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec, Stack
from ecad_dsl.models.meta import submodule
from ecad_dsl.runtime.inspect import block_counts
from ecad_dsl.runtime.unread import Unread, first_token, sample
from ecad_dsl.runtime.variants import CALLED_TWICE, CompiledBlock
from ecad_dsl.schedule.plan import READ, READ_FREE, RUN, SKIP, STORE, Plan, plan
from ecad_dsl.schedule.schedule import Schedule

Shape = tuple[Any, ...] | None
"""Of a transformer's input: of a tensor; of each tensor in a list, as Z-Image takes them; None of anything else."""


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
        self.shape: Shape = None
        """Shape of the input of this transformer call."""
        self._compiled: dict[nn.Module, CompiledBlock] = {}
        _check_blocks(transformer, spec)
        self._blocks = [
            (block, _cells(self, stack, index, block))
            for stack in spec.stacks
            for index, block in enumerate(getattr(transformer, stack.path))
        ]
        self._cells = [cell for _, cells in self._blocks for cell in cells]

    def load(self, schedule: Schedule) -> None:
        """Follow this schedule from now on."""
        if schedule is not self.schedule:
            self.schedule = schedule
            planned = plan(schedule)
            for cell in self._cells:
                cell.ops = cell.ops_of(planned)

    def attach(self) -> None:
        """Put the routes in place; also again where somebody replaced a component (loading a LoRA does) or compiled.

        Raises:
            EcadError: another executor's routes are there; the transformer is compiled whole.
        """
        check_compiled(self.transformer, self.spec)
        for block, cells in self._blocks:
            if _is_wrapped(block):
                raise _compiled_wrongly("a block of this transformer is", self.spec)
            if (compiled := self._compiled.get(block)) is not None:
                if compiled.stands():
                    continue
                self._compiled.pop(block).detach()
            for cell in cells:
                cell.attach()
            if isinstance(block._compiled_call_impl, CompiledBlock):
                raise _under_schedule()
            if block._compiled_call_impl is not None:
                for cell in cells:
                    cell.detach()
                self._compiled[block] = CompiledBlock(block, cells)

    def detach(self) -> None:
        """Leave the transformer as it was, and let go of everything kept."""
        for cell in self._cells:
            cell.detach()
            cell.outputs.clear()
            cell.sample = None
        for compiled in self._compiled.values():
            compiled.detach()
        self._compiled.clear()

    def restart(self) -> None:
        """Step 0 of a new generation: nothing is kept."""
        self.step, self.call = 0, -1
        for cell in self._cells:
            cell.outputs.clear()
            cell.sample = None

    def advance(self) -> None:
        """The next step of the generation."""
        self.step += 1
        self.call = -1

    def begin_forward(self, shape: Shape) -> None:
        """Another call of the transformer within the step, with an input of this shape.

        Raises:
            EcadError: gradient checkpointing would run the blocks again later, in the backward pass.
        """
        if torch.is_grad_enabled() and getattr(self.transformer, "gradient_checkpointing", False):
            raise EcadError(
                "gradient checkpointing runs blocks again in the backward pass, when the step is over;"
                " call disable_gradient_checkpointing() on the transformer, or run it under torch.no_grad()"
            )
        if self.step == 0 and self.call < 0:
            self.attach()  # to what was compiled since
        self.call += 1
        self.forwards += 1
        self.shape = shape


class Cell:
    """One component of one block: what it does at each step, and the outputs that it keeps."""

    __slots__ = (
        "bits", "executor", "feeds", "last_forward", "module", "name", "ops", "outputs", "parent", "route",
        "sample", "sampled",
    )  # fmt: skip
    keeps = True

    def __init__(self, executor: Executor, bits: tuple[int, ...], parent: nn.Module, name: str) -> None:
        self.executor = executor
        self.parent = parent
        self.name = name
        self.module: nn.Module = parent._modules[name]  # type: ignore[assignment]
        self.route = _route(self)
        self.last_forward = -1
        self.bits = bits
        self.feeds = self.keeps and bits[0] in executor.spec.readers
        """Whether another component alone reads the output, so that now and then nobody does."""
        self.sample: Any = None
        """What stands in for the output then, made for the transformer's input of the shape ``sampled``."""
        self.sampled: Shape = None
        self.ops = bytes([RUN])
        self.outputs: dict[int, tuple[Shape, Any]] = {}
        """Kept outputs by transformer call within the step, each with the shape of the transformer's input."""

    def ops_of(self, planned: Plan) -> bytes:
        """What it does at each step."""
        return planned.ops[self.bits[0]]

    def attach(self) -> None:
        shadow = self.parent.__dict__.get(self.name)
        # A copy of a transformer under a schedule has the plain module there.
        if isinstance(shadow, Route) and shadow is not self.route:
            raise _under_schedule()
        if self._unwrap():
            raise EcadError(
                f"{self} was wrapped by torch.compile while the schedule was on, and has been put back; compile"
                " components before the schedule, or blocks in place (block.compile()) at any time"
            )
        self._follow_replacement()
        self.parent.__dict__[self.name] = self.route

    def is_registered(self) -> bool:
        """Whether the module that it knows is still the one in its place."""
        return self.parent._modules.get(self.name) is self.module

    def _unwrap(self) -> bool:
        """Put the component back if it was compiled by wrapping: what was wrapped is the route. Whether it was."""
        registered = self.parent._modules.get(self.name)
        if registered is None or registered is self.module or not _is_wrapped(registered):
            return False
        self.parent._modules[self.name] = self.module
        return True

    def _follow_replacement(self) -> None:
        """Somebody may have registered another module in place of the component, perhaps one around it (LoRA does)."""
        registered = self.parent._modules.get(self.name)
        if registered is None or registered is self.module:
            return
        for module in registered.modules():
            for name, child in module._modules.items():
                if isinstance(child, Route) and child is self.route:  # what it found as the parent's attribute
                    module._modules[name] = self.module
        self.module = registered
        self.route = _route(self)

    def detach(self) -> None:
        self._unwrap()
        self._follow_replacement()
        if self.parent.__dict__.get(self.name) is self.route:
            del self.parent.__dict__[self.name]

    def keep(self, output: Any) -> None:
        """For the same transformer call of later steps. What older steps kept for further calls is out of date."""
        if self.executor.call == 0:
            self.outputs.clear()
        self.outputs[self.executor.call] = (self.executor.shape, output)

    def kept(self, op: int) -> Any:
        """What was kept in this transformer call of an earlier step.

        Raises:
            EcadError: nothing was, or for an input of another shape.
        """
        executor = self.executor
        kept = self.outputs.get(executor.call) if op == READ else self.outputs.pop(executor.call, None)
        if kept is None or kept[0] != executor.shape:
            raise self._unreadable(kept)
        return kept[1]

    def keep_sample(self, output: Any) -> None:
        """Where this component feeds another: for steps at which that one is reused."""
        if self.sample is None or self.sampled != self.executor.shape:
            self.sample, self.sampled = sample(output), self.executor.shape

    def unread(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG002
        """What a call gives where nobody reads it."""
        return Unread(self.sample) if isinstance(self.sample, torch.Tensor) else self.sample

    def _unreadable(self, kept: tuple[Shape, Any] | None) -> EcadError:
        executor = self.executor
        here = f"step {executor.step} reuses {self}"
        if kept is None:
            return EcadError(
                f"{here} in call {executor.call + 1} of the transformer, but the step that computed it made fewer"
                " calls, so nothing is kept; make as many transformer calls (guidance) in every step"
            )
        return EcadError(
            f"{here}, but it was computed for an input of shape {kept[0]} and the input now is {executor.shape};"
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


class Norm(Cell):
    """A norm, which runs where any of the components with its bits does, and of which nothing is kept."""

    __slots__ = ()
    keeps = False

    def ops_of(self, planned: Plan) -> bytes:
        return planned.needed(self.bits)

    def unread(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return Unread(first_token(args, kwargs))


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
        if op == RUN and not cell.feeds:
            return cell.module(*args, **kwargs)
        if op == SKIP:
            return cell.unread(args, kwargs)
        if cell.last_forward == executor.forwards:
            raise EcadError(CALLED_TWICE.format(cell))
        cell.last_forward = executor.forwards
        if op in (READ, READ_FREE):
            return cell.kept(op)
        output = cell.module(*args, **kwargs)
        if op != RUN:
            cell.keep(output)
        if op == STORE:
            return cell.unread(args, kwargs)
        if cell.feeds:
            cell.keep_sample(output)
        return output

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """A copy of the parent gets the copied module itself: the copy is not under the schedule."""
        module: nn.Module = copy.deepcopy(self._cell.module, memo)
        return module

    def __copy__(self) -> nn.Module:
        return copy.copy(self._cell.module)

    def __reduce__(self) -> Reduced:
        return pickled_as(self._cell.module)


Reduced: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""How to make what was pickled: a function and its arguments."""


def pickled_as(plain: Any) -> Reduced:
    """What ``__reduce__`` returns of an object in whose place another is pickled. To read it takes nothing else."""
    return operator.getitem, ((plain,), 0)


def _route(cell: Cell) -> Route:
    route: Route = object.__new__(_route_class(type(cell.module)))  # type: ignore[arg-type]
    object.__setattr__(route, "_cell", cell)
    object.__setattr__(route, "__dict__", cell.module.__dict__)
    return route


@cache
def _route_class(module_class: type[nn.Module]) -> type[Route]:
    """The module's own class, but for the call."""
    return type(module_class.__name__, (Route, module_class), {})


def _cells(executor: Executor, stack: Stack, index: int, block: nn.Module) -> list[Cell]:
    """The components of a block, then its norms. A block may lack some: SD3's last has no text feed-forward."""
    first = executor.spec.offsets[stack.name] + index * len(stack.components)
    cells = []
    fed: dict[str, list[int]] = {}
    for bit, component in enumerate(stack.components, start=first):
        where = f"{stack.path}[{index}].{component.module}"
        parent, name = _parent(block, component.module)
        if isinstance(parent, nn.ModuleList | nn.ModuleDict | nn.Sequential):
            raise EcadError(f"{where} is an item of a {type(parent).__name__} and cannot be cached")
        if not isinstance(parent, nn.Module) or not hasattr(parent, name):
            built = type(executor.transformer).__name__
            raise EcadError(f"{built} is not built like {executor.spec.title}: it has no {where}")
        if parent._modules.get(name) is None:
            continue
        cells.append(Cell(executor, (bit,), parent, name))
        for norm in component.norms:
            fed.setdefault(norm, []).append(bit)
    for path, bits in fed.items():
        parent, name = _parent(block, path)
        if isinstance(parent, nn.Module) and parent._modules.get(name) is not None:
            cells.append(Norm(executor, tuple(bits), parent, name))
    return cells


def _parent(block: nn.Module, path: str) -> tuple[nn.Module | None, str]:
    """The module that has what the path leads to as an attribute, None if there is none; and the attribute."""
    way, _, name = path.rpartition(".")
    return submodule(block, way) if way else block, name


def _under_schedule() -> EcadError:
    return EcadError(
        "this transformer is already under a schedule; leave that `with ecad.apply(...)`, or call ecad.disable, first"
    )


def check_compiled(transformer: nn.Module, spec: ModelSpec | None = None) -> None:
    """Raises an EcadError if the transformer is compiled as a whole."""
    if transformer._compiled_call_impl is not None or _is_wrapped(transformer):
        raise _compiled_wrongly("this transformer is", spec)


def _is_wrapped(module: nn.Module) -> bool:
    """Whether ``torch.compile`` was given the module or its ``forward``: neither shows it what a step leaves out."""
    return hasattr(module, "_orig_mod") or hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")


def _compiled_wrongly(what: str, spec: ModelSpec | None) -> EcadError:
    path = spec.stacks[0].path if spec else "transformer_blocks"
    return EcadError(
        f"{what} compiled in a way that fixes what it computes; compile its blocks one by one and in place instead"
        f" (for block in transformer.{path}: block.compile()), and it runs under a schedule"
    )


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
