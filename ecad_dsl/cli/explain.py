"""``ecad explain``: a schedule rule by rule, or the page of a diagnostic, from ``language/codes.md``."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ecad_dsl.cli.console import JsonOption, ModelOption, StepsOption, echo
from ecad_dsl.cli.reading import explain_file
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.language import Diagnostic

_CODE = re.compile(r"[A-Z][0-9]{3}", re.IGNORECASE)
_BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```\n", re.MULTILINE)
_FILE = "fast.ecad"


def register(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    what: Annotated[
        str, typer.Argument(metavar="FILE|CODE", help="A .ecad file (- reads standard input), or a code such as E203.")
    ],
    model: ModelOption = None,
    steps: StepsOption = None,
    json: JsonOption = False,
) -> None:
    """Say in English what each rule of a schedule does and saves, or what a diagnostic means."""
    if _CODE.fullmatch(what):
        echo(page(what.upper()))
    else:
        explain_file(what, model, steps, json)


class Example(NamedTuple):
    """A program of a page, and what it is checked for (None: what the program says, or nothing)."""

    text: str
    model: str | None
    steps: int | None

    @property
    def command(self) -> str:
        options = (("--model", self.model), ("--steps", self.steps))
        return " ".join(["ecad check", _FILE, *(f"{name} {value}" for name, value in options if value is not None)])

    def findings(self) -> list[Diagnostic]:
        from ecad_dsl.schedule import diagnose

        return diagnose(self.text, _FILE, self.model, self.steps)


def page(code: str) -> str:
    """The page of a code: its words, its examples, and what is printed for the first of them.

    Raises:
        EcadError: there is no such code.
    """
    from ecad_dsl.language import TITLES, render

    if code not in TITLES:
        groups = (sorted(known for known in TITLES if known.startswith(kind)) for kind in ("E1", "E2", "W3"))
        known = ", ".join(f"{group[0]} to {group[-1]}" for group in groups)
        raise EcadError(f"there is no code {code}; the codes are {known}")
    words = _sections()[code]
    first = _BLOCK.search(words)
    if first is not None:
        wrong = examples(code)[0]
        printed = f"\n    $ {wrong.command}\n{_indented(render(wrong.findings()))}"
        words = words[: first.end()] + printed + words[first.end() :]
    words = _BLOCK.sub(lambda block: _indented(block[2]), words)
    return f"{code}: {TITLES[code]}\n\n{words.strip()}"


def examples(code: str) -> list[Example]:
    """The programs on the page of a code: one that provokes it, then the same put right. Some codes have none."""
    found = []
    for options, text in _BLOCK.findall(_sections()[code]):
        given = dict(re.findall(r"--(\w+) (\S+)", options))
        found.append(Example(text, given.get("model"), int(given["steps"]) if "steps" in given else None))
    return found


def _sections() -> dict[str, str]:
    text = resources.files("ecad_dsl.language").joinpath("codes.md").read_text(encoding="utf-8")
    parts = re.split(r"^## ([EW][0-9]{3})\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _indented(text: str) -> str:
    return "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())
