"""``python docs/models.py`` makes models.md from models.in.md, the shipped specs and the architectures of the tests.

The same input gives the same file; a test compares it with the one committed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from torch import nn

from ecad_dsl.models import ModelSpec, Stack, load_spec, spec_names
from ecad_dsl.models.meta import submodule
from ecad_dsl.runtime import inspect

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from tests.runtime.architectures import ARCHITECTURES  # noqa: E402


def make(folder: Path) -> None:
    """Write models.md into ``folder``."""
    page = (DOCS / "models.in.md").read_text(encoding="utf-8")
    page = page.replace("<!-- shipped -->\n", table(("model", "name", "stacks", "transformer"), shipped()))
    columns = ("transformer", "makes", "stack", "self", "cross", "ffn", "remarks")
    page = page.replace("<!-- architectures -->\n", table(columns, architectures()))
    note = "<!-- Made by `python docs/models.py` from models.in.md, the specs and the tests; change those. -->\n\n"
    (folder / "models.md").write_text(note + page, encoding="utf-8", newline="\n")


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def shipped() -> Iterator[tuple[str, ...]]:
    for name in spec_names():
        spec = load_spec(name)
        stacks = ", ".join(f"{stack.name} ({stack.blocks})" for stack in spec.stacks)
        yield spec.title, f"`{name}`", stacks, f"`{spec.transformer}`"


def architectures() -> Iterator[tuple[str, ...]]:
    """A line for each stack; the class stands in its first."""
    for architecture in ARCHITECTURES:
        transformer = architecture.build()
        spec = inspect(transformer)
        for index, stack in enumerate(spec.stacks):
            about = (f"`{architecture.transformer}`", architecture.modality) if index == 0 else ("", "")
            roles = (members(spec, stack, role) for role in ("self", "cross", "ffn"))
            told = [*partial(transformer, stack), architecture.remark] if index == 0 else partial(transformer, stack)
            yield *about, f"{stack.name}: `{stack.path}`", *roles, "; ".join(filter(None, told))


def members(spec: ModelSpec, stack: Stack, role: str) -> str:
    """The components of a stack that a role selects, each with its module where it is not called so."""
    chosen = (stack.components[index] for index in (spec.select(role) or {}).get(stack.name, ()))
    return ", ".join(c.name if c.name == c.module else f"{c.name} (`{c.module}`)" for c in chosen)


def partial(transformer: nn.Module, stack: Stack) -> list[str]:
    """The components that not every block has."""
    blocks = getattr(transformer, stack.path)
    lacking = [c.name for c in stack.components if any(submodule(block, c.module) is None for block in blocks)]
    return [f"{name} not in every block" for name in lacking]


if __name__ == "__main__":
    make(DOCS)
