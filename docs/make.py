"""``python docs/make.py`` makes language.md and its pictures, from language.in.md and the grammar.

In language.in.md, a fence says after ``ecad`` what becomes of its program:

- a name (``ecad fora``): compiled and drawn as images/language/NAME.svg, the picture put below it;
- a code (``ecad E203``): what `ecad check` says of it is put below it, and must begin with that code;
- nothing: compiled.

A portable program stands for one on the reference model with 12 steps. ``<!-- diagram NAME -->`` becomes the railroad
diagram of a rule of the grammar. The same input gives the same files; a test compares them with those committed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import railroad
from ecad_dsl.analysis import figures, frames
from lark import Lark, Token, Transformer, Tree
from matplotlib import rc_context

from ecad_dsl.language import ScheduleSyntaxError, render
from ecad_dsl.schedule import check, compile, lint, parse

DOCS = Path(__file__).parent
PICTURES = "images/language"
FENCE = re.compile(r"^```ecad(?: (?P<word>\S+))?\n(?P<text>.*?)^```\n", re.MULTILINE | re.DOTALL)
DIAGRAM = re.compile(r"^<!-- diagram (?P<rule>\w+) -->\n", re.MULTILINE)
MODEL, STEPS = "reference", 12

SMALL = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "sans-serif"]}
"""Text as text keeps the pictures small."""

STYLE = """
svg { background-color: #ffffff; }
path { stroke: #1f2933; stroke-width: 2; fill: none; }
text { font: bold 14px monospace; text-anchor: middle; fill: #1f2933; }
rect { stroke: #1f2933; stroke-width: 2; fill: #e9ecef; }
g.non-terminal rect { fill: #ffffff; stroke-dasharray: 5 3; }
g.non-terminal text { font: italic 14px monospace; }
"""

# How a diagram calls terminals and rules that it does not draw out. All other lower-case names are drawn in place.
BOXES = {
    "NAME": "name",
    "INT": "number",
    "PERCENT": "percentage",
    "FLOAT": "number",
    "STRING": "text in quotes",
    "components": "components",
    "blocks": "blocks",
    "every": "every",
    "step_set": "step set",
    "from_to": "from to",
    "items": "items",
    "stack": "stack",
    "name": "name",
    "key": "name",
}
WORDS = {"ALL": "all", "BLOCKS": "blocks"}


def make(folder: Path) -> None:
    """Write language.md and its pictures into ``folder``.

    Raises:
        ValueError: an example of the page does not do what the page says.
    """
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    rules = grammar_rules()

    def example(match: re.Match[str]) -> str:
        word, text = match["word"], match["text"]
        shown = f"```ecad\n{text}```\n"
        if word is None:
            compile(*with_target(text))
        elif re.fullmatch(r"[EW]\d+", word):
            shown += f"\n```text\n{findings(word, text)}\n```\n"
        else:
            shown += f"\n![{draw(text, pictures / f'{word}.svg')}]({PICTURES}/{word}.svg)\n"
        return shown

    def diagram(match: re.Match[str]) -> str:
        name = match["rule"]
        path = pictures / f"grammar-{name.replace('_', '-')}.svg"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            railroad.Diagram(Diagrams(rules).transform(rules[name])).writeStandalone(file.write, STYLE)
        return f"![{name.replace('_', ' ')}]({PICTURES}/{path.name})\n"

    page = (DOCS / "language.in.md").read_text(encoding="utf-8")
    note = "<!-- Made by `python docs/make.py` from language.in.md and the grammar; change those. -->\n\n"
    page = note + DIAGRAM.sub(diagram, FENCE.sub(example, page))
    (folder / "language.md").write_text(page, encoding="utf-8", newline="\n")


# Examples.


def with_target(text: str) -> tuple[Any, str | None, int | None]:
    program = parse(text, "fast.ecad")
    return program, None if program.model else MODEL, None if program.steps else STEPS


def draw(text: str, path: Path) -> str:
    """Draw the heat map of a program; returns what it shows, in words."""
    schedule = compile(*with_target(text))
    title = f"{schedule.spec.title}, {schedule.steps} steps"
    with rc_context(SMALL):
        figures.save(figures.heat_map(frames.cells(schedule), title), path)
    # Tenths of a point are enough, and nobody reads the indentation.
    svg = re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", path.read_text(encoding="utf-8"))
    path.write_text(re.sub(r"\s*\n\s*", "\n", svg), encoding="utf-8", newline="\n")
    total = schedule.steps * schedule.spec.cells
    return f"Heat map on {title}: {schedule.recomputed:,} of {total:,} cells recomputed"


def findings(code: str, text: str) -> str:
    """What `ecad check` says of a program."""
    try:
        target = with_target(text)
        found = [*check(*target), *lint(*target)]
    except ScheduleSyntaxError as error:
        found = list(error.diagnostics)
    if not found or found[0].code != code:
        raise ValueError(f"this was to give {code}, and gives {[d.code for d in found]}:\n{text}")
    return render(found)


# Railroad diagrams.


def grammar_rules() -> dict[str, Any]:
    """Each rule of the language's grammar as Lark's own grammar reads it."""
    text = resources.files("ecad_dsl.grammars").joinpath("ecad.lark").read_text(encoding="utf-8")
    tree = Lark.open_from_package("lark", "lark.lark", ("grammars",), parser="lalr", maybe_placeholders=False).parse(
        text
    )
    return {rule.children[0].lstrip("!?"): rule.children[-1] for rule in tree.find_data("rule")}


class Diagrams(Transformer):
    """From the right-hand side of a rule to the parts of its diagram."""

    def __init__(self, rules: dict[str, Any]) -> None:
        super().__init__()
        self._rules = rules

    def transform(self, tree: Any) -> Any:
        return super().transform(Tree("top", [with_lists(tree)])).children[0]

    def expansions(self, parts: list[Any]) -> Any:
        return railroad.Choice(0, *parts)

    def expansion(self, parts: list[Any]) -> Any:
        return railroad.Sequence(*parts)

    def alias(self, parts: list[Any]) -> Any:
        return parts[0]

    def expr(self, parts: list[Any]) -> Any:
        part, mark = parts
        kinds = {"?": railroad.Optional, "*": railroad.ZeroOrMore, "+": railroad.OneOrMore}
        return kinds[str(mark)](part)

    def list(self, parts: list[Any]) -> Any:
        part, separator = parts
        return railroad.OneOrMore(part, separator)

    def maybe(self, parts: list[Any]) -> Any:
        return railroad.Optional(parts[0])

    def literal(self, parts: list[Token]) -> Any:
        return railroad.Terminal(parts[0].strip('"'))

    def name(self, parts: list[Token]) -> Any:
        name = str(parts[0])
        if name in WORDS:
            return railroad.Terminal(WORDS[name])
        if name in BOXES:
            return railroad.NonTerminal(BOXES[name])
        return self.transform(self._rules[name])


def with_lists(tree: Any) -> Any:
    """The tree with ``x (separator x)*`` put as one node ``list``, to be drawn as a loop."""
    if not isinstance(tree, Tree):
        return tree
    return Tree(tree.data, list(listed([with_lists(child) for child in tree.children])))


def listed(parts: list[Any]) -> Iterator[Any]:
    rest = iter(enumerate(parts))
    for index, part in rest:
        following = parts[index + 1] if index + 1 < len(parts) else None
        match following:
            case Tree(data="expr", children=[Tree(data="expansion", children=[separator, again]), "*"]) if (
                again == part
            ):
                next(rest)
                yield Tree("list", [part, separator])
            case _:
                yield part


if __name__ == "__main__":
    make(DOCS)
