"""Blocks that are compiled one by one (``compile_repeated_blocks``): a variant for each pattern of reused components.

The compiler must see what a block does at a step, so that it drops norms, modulations and projections that nobody
reads. For the length of a call the components of the block are replaced, where ``torch.compile`` looks for them, by
modules that keep or hand back an output. Their classes are what the compiled code is chosen by: blocks and steps with
the same pattern share it, and nothing of the step's number, of the schedule or of the block gets into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ecad_dsl.errors import EcadError
from ecad_dsl.runtime.unread import first_token
from ecad_dsl.schedule.plan import READ, READ_FREE, RUN, RUN_STORE, SKIP, STORE

if TYPE_CHECKING:
    from ecad_dsl.runtime.executor import Cell


CALLED_TWICE = (
    "{} was called twice in one transformer call, so its output cannot be cached; turn feed-forward chunking off"
)


class Slot:
    """Where a component's output passes in and out of compiled code."""

    def __init__(self) -> None:
        self.output: Any = None
        self.sample: Any = None
        """What stands in for an output that nobody reads."""


class InPlace(nn.Module):
    """What stands in a component's place. It is called instead, but whatever else is asked of it the component has."""

    def __init__(self, module: nn.Module, slot: Slot) -> None:
        super().__init__()
        self.module = module
        self.slot = slot

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__["_modules"]
        return own[name] if name in own else getattr(own["module"], name)


class Keep(InPlace):
    """The component itself, whose output is put into the slot."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.slot.output is not None:
            raise EcadError(CALLED_TWICE.format(type(self.module).__name__))
        output = self.module(*args, **kwargs)
        self.slot.output = output
        return output


class KeepUnread(Keep):
    """As Keep, where nobody reads the output at this step."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        super().forward(*args, **kwargs)
        return self.slot.sample


class Reuse(InPlace):
    """The output that lies in the slot."""

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.slot.output


class SkipNorm(nn.Module):
    """Nothing that anybody reads."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return first_token(args, kwargs)


class Skip(InPlace):
    """Nothing that anybody reads."""

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.slot.sample


RECOMPILES = 64
"""Variants that the compiler may make of a block's code; PyTorch's own limit is 8.

A block with three components has 8 patterns, each once more where its input comes in another memory layout (the first
block's often does) or shape.
"""


class CompiledBlock:
    """Stands in for the compiled call of one block.

    Its components have no routes: compiled code was made of the registered modules and would pass the routes by.
    """

    def __init__(self, block: nn.Module, cells: Sequence[Cell]) -> None:
        assert block._compiled_call_impl is not None
        self.block = block
        self._compiled = block._compiled_call_impl
        self._parts = [_Part(cell) for cell in cells]
        block._compiled_call_impl = self
        # For good: what is compiled under the schedule stays in the compiler's cache and counts there.
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, RECOMPILES)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The block's output, as its own compiled code makes it of components that follow the plan."""
        entered: list[_Part] = []
        try:
            for part in self._parts:
                entered.append(part)
                part.enter()
            output = self._compiled(*args, **kwargs)
            for part in self._parts:
                part.keep()
            return output
        finally:
            for part in entered:
                part.leave()

    def stands(self) -> bool:
        """Whether neither the compiled call nor a component has been replaced since."""
        return self.block._compiled_call_impl is self and all(part.cell.is_registered() for part in self._parts)

    def detach(self) -> None:
        """Leave the block as it was."""
        if self.block._compiled_call_impl is self:
            self.block._compiled_call_impl = self._compiled


class _Part:
    """A cell in compiled code: what stands in the component's place for each op."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.slot = Slot()
        self.op = RUN
        if not cell.keeps:
            self.modules: dict[int, nn.Module] = {RUN: cell.module, SKIP: SkipNorm()}
            return
        # What runs is kept in any case, and let go when the block is done: half the kinds, far fewer patterns of them.
        keep, reuse = Keep(cell.module, self.slot), Reuse(cell.module, self.slot)
        self.modules = {
            RUN: keep,
            RUN_STORE: keep,
            READ: reuse,
            READ_FREE: reuse,
            STORE: KeepUnread(cell.module, self.slot),
            SKIP: Skip(cell.module, self.slot),
        }

    def enter(self) -> None:
        cell = self.cell
        self.op = cell.ops[cell.executor.step]
        if self.op in (READ, READ_FREE):
            self.slot.output = cell.kept(self.op)
        elif self.op in (SKIP, STORE):
            self.slot.sample = cell.sample
        cell.parent._modules[cell.name] = self.modules[self.op]

    def keep(self) -> None:
        if self.op in (RUN_STORE, STORE):
            self.cell.keep(self.slot.output)
        if self.cell.feeds and self.op in (RUN, RUN_STORE):
            self.cell.keep_sample(self.slot.output)

    def leave(self) -> None:
        self.slot.output = self.slot.sample = None
        self.cell.parent._modules[self.cell.name] = self.cell.module
