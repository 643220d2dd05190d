"""From one statement to its tokens, with the terminals of the grammar and the offsets of the source.

Lark's own lexer counts lines and columns and tries each keyword on each word, which takes most of the time that a
program takes to parse. Here one match of a regular expression and one look-up give a token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lark.common import LexerConf
from lark.exceptions import UnexpectedCharacters
from lark.lexer import Lexer, Token

from ecad_dsl.language.lines import Logical

_SINGULAR = {"step": "steps", "block": "blocks"}


class StatementLexer(Lexer):  # type: ignore[misc]  # Lark is not typed
    """What Lark is given as its lexer: it then parses a :class:`Logical` instead of a text."""

    def __init__(self, conf: LexerConf) -> None:
        terminals = sorted(conf.terminals, key=lambda t: (-t.priority, -t.pattern.max_width))
        # A terminal that the grammar spells out comes before a pattern that matches the same text.
        self._fixed = {t.pattern.value: t.name for t in terminals if t.pattern.type == "str"}
        self._fixed.update({word: self._fixed[keyword] for word, keyword in _SINGULAR.items()})
        tokens = "|".join(f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in terminals if t.name not in conf.ignore)
        blanks = "|".join(t.pattern.to_regexp() for t in terminals if t.name in conf.ignore)
        self._match = re.compile(f"(?:{blanks})*+(?:{tokens})?").match

    def lex(self, line: Logical) -> Iterator[Token]:
        """The tokens; ``start_pos`` and ``end_pos`` count from the start of the source.

        Raises:
            UnexpectedCharacters: no token begins at ``pos_in_stream``.
        """
        match, fixed, text, shift = self._match, self._fixed, line.text, line.start
        at = 0
        while (found := match(text, at)) and (kind := found.lastgroup):
            start, at = found.span(kind)
            word = found[kind]
            yield Token(fixed.get(word, kind), word, start + shift, None, None, None, None, at + shift)
        if found and found.end() < len(text):
            raise UnexpectedCharacters(text, found.end(), 1, found.end() + 1)
