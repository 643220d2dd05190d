"""Programs in colours: a lexer for Pygments, which calls it ``ecad``, and HTML for notebooks and reports.

The words are cut by the language's own lexer, from the terminals of its grammar, so that the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, ClassVar

from pygments import token
from pygments.lexer import Lexer

from ecad_dsl.language.formatter import format
from ecad_dsl.language.lines import Line, Logical, physical_lines
from ecad_dsl.language.parser import tokens
from ecad_dsl.language.tree import CLAUSE_WORDS, KEYWORDS, STATEMENT_WORDS, Action, Program

_WORDS = {
    **dict.fromkeys(KEYWORDS, token.Keyword.Type),
    **dict.fromkeys(CLAUSE_WORDS, token.Keyword.Pseudo),
    **dict.fromkeys(STATEMENT_WORDS, token.Keyword.Declaration),
    **dict.fromkeys(map(str, Action), token.Keyword.Reserved),
}
"""Every word of the language. A statement's first word counts as one of those; further down ``steps`` is a noun."""
_KINDS = {
    "NAME": token.Name,
    "INT": token.Number.Integer,
    "FLOAT": token.Number.Float,
    "PERCENT": token.Number.Float,
    "STRING": token.String.Double,
}
_BOUND_AFTER = {"let": token.Name.Variable, "meta": token.Name.Attribute, "model": token.Name.Class}

Part = tuple[int, Any, str]
"""Where in the text, what kind, and the words."""


class EcadLexer(Lexer):
    """The .ecad language for Pygments. A text with mistakes is coloured as far as it can be understood."""

    name = "ecad"
    aliases: ClassVar[list[str]] = ["ecad"]
    filenames: ClassVar[list[str]] = ["*.ecad"]
    mimetypes: ClassVar[list[str]] = ["text/x-ecad"]

    def get_tokens_unprocessed(self, text: str) -> Iterator[Part]:
        """The parts of a text in order: nothing is left out, nothing added."""
        at = 0
        for start, kind, words in _parts(text):
            if at < start:
                yield at, token.Whitespace, text[at:start]
            yield start, kind, words
            at = start + len(words)
        if at < len(text):
            yield at, token.Whitespace, text[at:]


def _parts(text: str) -> Iterator[Part]:
    for line in physical_lines(text):
        yield from _code(line)
        if line.comment is not None:
            yield text.index(line.comment, line.start + len(line.code)), token.Comment.Single, line.comment


def _code(line: Line) -> Iterator[Part]:
    before = ""
    for start, kind, word in tokens(Logical([line])):
        if kind is None:
            found = token.Error
        elif before in _BOUND_AFTER:
            found = _BOUND_AFTER[before]
        elif before and word in ("step", "steps"):
            found = token.Keyword.Type
        else:
            found = _WORDS.get(word) or _KINDS.get(kind, token.Punctuation)
        yield start, found, word
        before = word


# HTML. Colours fall back from a page's own, to those of the notebook's theme, to some that read on light and dark.

_COLOURS = {
    token.Keyword.Reserved: ("action", "--jp-mirror-editor-keyword-color", "#c2410c"),
    token.Keyword: ("word", "--jp-mirror-editor-keyword-color", "#2f7bbf"),
    token.Name: ("name", "--jp-content-font-color1", "inherit"),
    token.Number: ("number", "--jp-mirror-editor-number-color", "#1a8754"),
    token.String: ("string", "--jp-mirror-editor-string-color", "#8a6d1d"),
    token.Comment: ("comment", "--jp-mirror-editor-comment-color", "#7b8794"),
    token.Error: ("error", "--jp-error-color1", "#d1242f"),
}


def highlighted(program: Program | str) -> str:
    """A program, or a text that may be none, as a piece of HTML: ``<pre class="ecad">``.

    A page sets its own colours as the variables ``--ecad-action``, ``--ecad-word``, ``--ecad-name``, ``--ecad-number``,
    ``--ecad-string``, ``--ecad-comment`` and ``--ecad-error``.
    """
    text = program if isinstance(program, str) else format(program)
    spans = "".join(_span(kind, escape(words)) for _, kind, words in EcadLexer().get_tokens_unprocessed(text))
    return f'<pre class="ecad" style="line-height:1.45;overflow-x:auto"><code>{spans}</code></pre>'


def _span(kind: Any, words: str) -> str:
    colour = next((_COLOURS[part] for part in reversed(kind.split()) if part in _COLOURS), None)
    if colour is None:
        return words
    name, theme, otherwise = colour
    return f'<span style="color:var(--ecad-{name},var({theme},{otherwise}))">{words}</span>'
