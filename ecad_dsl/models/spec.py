"""Model specs: where a transformer keeps its cacheable components, and by which names users call them.

A spec is data (see ``toml.py``). It knows nothing of torch, so that checking a schedule stays instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

ROLES = ("attn", "self", "cross", "ffn")
"""Names that every spec defines, so that portable programs can be written. A role may be empty."""


@dataclass(frozen=True)
class Component:
    """One cacheable sub-module of a block.

    ``module`` is its attribute path inside the block (``attn1``); ``aliases`` are the official names that the
    language accepts for it as well, first the one in released schedules. ``feeds`` is the component of the same block
    that alone reads its output; None where anything else reads it. ``norms`` are modules of the block that prepare the
    input of this component, and of others that name them too, and of nothing else: what is made of their output
    until then is arithmetic that broadcasts over the tokens (modulation), so that it may be left out.
    """

    name: str
    module: str
    aliases: tuple[str, ...] = ()
    feeds: str | None = None
    norms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack:
    """A named sequence of equal blocks. ``path`` is the attribute of the transformer that holds them."""

    name: str
    path: str
    blocks: int
    components: tuple[Component, ...]


@dataclass(frozen=True)
class ModelSpec:
    """What the language, the compiler and the runtime need to know of a transformer.

    A *row* is all cells of one step as the bits of one integer. Cell (stack, block, component) is bit
    ``offset(stack) + block * len(stack.components) + component``, stacks in execution order.
    """

    name: str
    title: str
    transformer: str
    """Class name in ``diffusers`` of the transformer that the spec describes."""
    stacks: tuple[Stack, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    config: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """Arguments of the transformer class at full size."""
    inputs: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """What one forward pass is fed: text tokens, pixels a latent, default resolution, guidance pair or not."""
    checkpoint: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """Where the published weights are, see ``checkpoint.py``; empty where none are."""
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """Arguments of the pipeline's call, where they are not the pipeline's own."""

    @property
    def has_costs(self) -> bool:
        """Whether it says what the transformer is fed for a picture of its own size, so that MACs can be counted."""
        return {"shapes", "height", "width"} <= self.inputs.keys()

    @cached_property
    def blocks(self) -> int:
        """Blocks over all stacks, in execution order."""
        return sum(stack.blocks for stack in self.stacks)

    @cached_property
    def cells(self) -> int:
        """Cells of one step."""
        return sum(stack.blocks * len(stack.components) for stack in self.stacks)

    @cached_property
    def offsets(self) -> dict[str, int]:
        """First bit of each stack in a row."""
        offsets, bit = {}, 0
        for stack in self.stacks:
            offsets[stack.name] = bit
            bit += stack.blocks * len(stack.components)
        return offsets

    @cached_property
    def readers(self) -> dict[int, int]:
        """For the bit of each cell that feeds another component alone, the bit of that one."""
        readers: dict[int, int] = {}
        for stack in self.stacks:
            names = [component.name for component in stack.components]
            for index, component in enumerate(stack.components):
                if component.feeds is not None:
                    first = range(
                        self.offsets[stack.name], self.offsets[stack.name] + stack.blocks * len(names), len(names)
                    )
                    readers |= {bit + index: bit + names.index(component.feeds) for bit in first}
        return readers

    @cached_property
    def _selections(self) -> dict[str, dict[str, tuple[int, ...]]]:
        table: dict[str, dict[str, tuple[int, ...]]] = {}
        for stack in self.stacks:
            for index, component in enumerate(stack.components):
                table.setdefault(component.name, {})[stack.name] = (index,)
                for alias in component.aliases:
                    table.setdefault(alias, {})[stack.name] = (index,)
        for group, members in self.groups.items():
            union: dict[str, set[int]] = {}
            for member in members:
                for stack_name, indices in table.get(member, {}).items():
                    union.setdefault(stack_name, set()).update(indices)
            table[group] = {stack: tuple(sorted(indices)) for stack, indices in union.items()}
        for role in ROLES:
            table.setdefault(role, {})
        table["all"] = {stack.name: tuple(range(len(stack.components))) for stack in self.stacks}
        return table

    def select(self, name: str) -> Mapping[str, tuple[int, ...]] | None:
        """Component indices that ``name`` (component, alias, group, role or ``all``) means, by stack.

        An empty mapping means a role that this model has nothing for; None means an unknown name.
        """
        return self._selections.get(name)

    @cached_property
    def _component_bits(self) -> dict[str, int]:
        bits = {}
        for name, indices in self._selections.items():
            bits[name] = 0
            for stack in self.stacks:
                one_block = sum(1 << index for index in indices.get(stack.name, ()))
                width = len(stack.components)
                every_block = sum(one_block << block * width for block in range(stack.blocks))
                bits[name] |= every_block << self.offsets[stack.name]
        return bits

    def component_bits(self, name: str) -> int | None:
        """The bits in a row of all cells that ``name`` selects; None for an unknown name."""
        return self._component_bits.get(name)

    @cached_property
    def _block_edges(self) -> tuple[int, ...]:
        """First bit of every block in execution order, and one past the last bit of all."""
        edges = [
            self.offsets[stack.name] + block * len(stack.components)
            for stack in self.stacks
            for block in range(stack.blocks)
        ]
        return (*edges, self.cells)

    def block_bits(self, blocks: range) -> int:
        """The bits in a row of all cells of these blocks, counted over all stacks."""
        edges = self._block_edges
        if not blocks:
            return 0
        if blocks.step == 1:
            return (1 << edges[blocks.stop]) - (1 << edges[blocks.start])
        return sum((1 << edges[block + 1]) - (1 << edges[block]) for block in blocks)

    def blocks_of(self, stack: str | None) -> range | None:
        """Blocks of a stack as counted over all stacks (of all stacks for None); None if there is no such stack."""
        if stack is None:
            return range(self.blocks)
        return self._block_ranges.get(stack)

    @cached_property
    def _block_ranges(self) -> dict[str, range]:
        ranges, first = {}, 0
        for stack in self.stacks:
            ranges[stack.name] = range(first, first + stack.blocks)
            first += stack.blocks
        return ranges

    def official_name(self, alias: str) -> str | None:
        """Name of the component that ``alias`` is an alias of; None if it is none."""
        return self._official_names.get(alias)

    @cached_property
    def _official_names(self) -> dict[str, str]:
        components = [component for stack in self.stacks for component in stack.components]
        return {alias: component.name for component in components for alias in component.aliases}

    def is_family_of(self, other: ModelSpec) -> bool:
        """Whether both have the same stacks of the same components, however many blocks of each."""
        return self._structure == other._structure

    @property
    def _structure(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return tuple((stack.name, tuple(c.name for c in stack.components)) for stack in self.stacks)

    @cached_property
    def component_names(self) -> tuple[str, ...]:
        """Every official component name once, in the order of the stacks."""
        return tuple(dict.fromkeys(c.name for stack in self.stacks for c in stack.components))

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that selects components, for "did you mean"."""
        return tuple(self._selections)

    def stack(self, name: str) -> Stack | None:
        return next((stack for stack in self.stacks if stack.name == name), None)

    def resized(self, blocks: Mapping[str, int]) -> ModelSpec:
        """The same family with other numbers of blocks (a smaller or larger model of the class)."""
        stacks = tuple(replace(stack, blocks=blocks.get(stack.name, stack.blocks)) for stack in self.stacks)
        return replace(self, stacks=stacks)
