"""Heat maps for notebooks and reports."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings

from ecad_dsl.language import Program
from ecad_dsl.models import load_spec
from ecad_dsl.schedule import Schedule, compile, parse
from ecad_dsl.schedule.svg import heat_map
from tests.strategies import programs_for

SPEC = load_spec("reference")
FLUX = load_spec("flux.1-dev")


def drawn(panel: ElementTree.Element, blocks: int, steps: int) -> np.ndarray:
    """The share of schedules that recompute each cell [steps, blocks], read off a panel's rectangles."""
    frame = panel.find("rect")
    assert frame is not None
    x, y = float(frame.attrib["width"]) / steps, float(frame.attrib["height"]) / blocks
    cells = np.zeros((steps, blocks))
    for path in panel.iter("path"):
        if "fill-opacity" not in path.attrib:
            continue
        for part in re.findall(r"M(\S+) (\S+?)h(\S+?)v(\S+?)h-\S+?z", path.attrib["d"]):
            left, top, width, height = map(float, part)
            assert width == pytest.approx(x)
            step, first, count = round(left / x), round(top / y), round(height / y)
            assert not cells[step, first : first + count].any()
            cells[step, first : first + count] = float(path.attrib["fill-opacity"])
    return cells


def panels(html: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(f"<div>{html}</div>").iter("svg"))


def shares(schedules: list[Schedule]) -> list[np.ndarray]:
    arrays = [schedule.to_numpy() for schedule in schedules]
    return [
        np.mean([array[stack.name][:, :, index] for array in arrays], axis=0)
        for stack in schedules[0].spec.stacks
        for index in range(len(stack.components))
    ]


@settings(max_examples=25)
@given(programs_for(FLUX, 20))
def test_a_map_shows_exactly_the_cells_that_are_recomputed(program: Program) -> None:
    schedule = compile(program, FLUX, 20)
    found = panels(schedule._repr_html_())
    assert [p.attrib["aria-label"] for p in found] == [f"{s.name}: {c.name}" for s in FLUX.stacks for c in s.components]
    blocks = [stack.blocks for stack in FLUX.stacks for _ in stack.components]
    for panel, count, expected in zip(found, blocks, shares([schedule]), strict=True):
        np.testing.assert_array_equal(drawn(panel, count, 20), expected)


def test_a_map_of_several_shows_the_share_that_recomputes_a_cell() -> None:
    several = [compile(parse(f"cache all every {n} steps"), SPEC, 12) for n in (1, 2, 3, 3)]
    for panel, expected in zip(panels(heat_map(*several)), shares(several), strict=True):
        np.testing.assert_allclose(drawn(panel, SPEC.blocks, 12), expected)


def test_a_map_says_in_words_what_it_shows_and_stays_small() -> None:
    html = compile(parse("cache all every 3 steps"), FLUX, 20)._repr_html_()
    assert "FLUX.1-dev, 20 steps: 1,197 of 3,420 cells recomputed (35.0%)" in html
    assert len(html) < 15_000
