"""What the page on running a model says is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import PixArtAlphaPipeline

import ecad_dsl as ecad
from tests.runtime.tiny import pipeline

PAGE = (Path(__file__).parents[2] / "docs" / "runtime.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


class SmallPipeline(PixArtAlphaPipeline):
    """Called as the page calls one; a model this small has no sizes to choose among."""

    def __call__(self, prompt: str, **options: Any) -> Any:
        return super().__call__(
            prompt, use_resolution_binning=False, max_sequence_length=6, clean_caption=False, **options
        )


@torch.no_grad()
def test_examples_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fast.ecad").write_text("steps 20\ncache all every 3 steps\n")
    names = {
        "pipe": pipeline(SmallPipeline),
        "noise": torch.randn(1, 4, 8, 8),
        "text": torch.randn(1, 6, 8),
        "timesteps": torch.arange(999.0, 0.0, -50.0).split(1),
        "backend": lambda graph, _: graph.forward,
    }
    assert len(EXAMPLES) == 8
    for example in EXAMPLES:
        exec(example, names)
    assert names["schedule"].steps_mask() == [1, 0, 0] * 6 + [1, 0]  # type: ignore[attr-defined]


def test_figures_of_memory_are_those_of_the_cost() -> None:
    every_third = ecad.parse("cache all every 3 steps")
    for model, mebibytes in (("pixart-alpha", "94.5 MiB a picture"), ("flux.1-dev", "342 MiB for FLUX.1-dev")):
        cost = ecad.cost(ecad.compile(every_third, model, 20), height=256, width=256)
        assert f"{cost.cache_elements * 2 / 2**20:g} MiB" in mebibytes
        assert mebibytes in PAGE
