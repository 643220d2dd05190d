"""How long do parse, compile, check, lint and format take? Fifty rules of every construct, for FLUX at 50 steps.

``pytest benchmarks/language_speed.py --benchmark-json=language_speed.json`` prints the times and writes them as JSON.
A program of this size should be parsed in less than 5 ms and, once parsed, compiled in less than 1 ms.
"""

from __future__ import annotations

from typing import Any

import pytest

from ecad_dsl.schedule import check, compile, format, lint, parse

HEAD = """\
# every construct of the language
model flux.1-dev
steps 50
meta title "fifty rules"
let deep = blocks 40-56
let opening = first 3 steps
let mixers = components attn, mlp

"""
RULES = """\
cache all every 2 steps  # FORA with N = 2
cache ffn in double blocks 10-18 every 2 steps
reuse attn in deep and blocks 0, 2 from step 4
recompute mixers in last 2 blocks at steps 5, 9, 12-18 by 3
recompute all except attn at opening
cache ffn_image, ffn_text in first 4 double blocks every 3 steps offset 1 from step 20% to 80%
reuse out in even single blocks at odd steps
cache mlp, out in blocks 25%-75% every 4 steps to step 40
recompute attn in all single blocks at last 4 steps
reuse ffn in odd blocks and single blocks 3-9 by 2, 30 at even steps
"""
TEXT = HEAD + 5 * RULES
PROGRAM = parse(TEXT)


@pytest.mark.parametrize("verb", [parse, compile, check, lint, format], ids=lambda verb: verb.__name__)
def test_fifty_rules(verb: Any, benchmark: Any) -> None:
    assert len(PROGRAM.rules) == 50
    benchmark(verb, TEXT if verb is parse else PROGRAM)
