"""The public face: every name that it promises, and the two lines that users write."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ecad_dsl as ecad
from ecad_dsl.reference.pipeline import ReferencePipeline


@pytest.mark.parametrize("name", ecad.__all__)
def test_every_promised_name_is_there_and_documented(name: str) -> None:
    assert getattr(ecad, name).__doc__
    assert name in dir(ecad)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ecad.nonsense  # noqa: B018


def test_importing_the_package_and_parsing_need_no_torch() -> None:
    script = (
        "import sys, ecad_dsl as ecad\n"
        "assert len(ecad.parse('cache all every 3 steps').rules) == 1\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_program_compiles_for_a_name_a_spec_and_a_pipeline_at_hand(pipe: ReferencePipeline) -> None:
    program = ecad.parse("cache all every 3 steps")
    spec = ecad.inspect(pipe)
    assert ecad.compile(program, model=pipe, steps=20) == ecad.compile(program, model=spec, steps=20)
    assert ecad.compile(program, model="reference", steps=20).key == ecad.compile(program, model=pipe, steps=20).key
    masks = ecad.compile(program, model="pixart-alpha", steps=20).masks["blocks"]
    assert masks.shape == (20, 28, 3)
    assert masks.dtype == torch.bool


def test_two_lines_run_a_pipeline_under_a_file_and_leave_it_as_it_was(pipe: ReferencePipeline, tmp_path: Path) -> None:
    def draw() -> torch.Tensor:
        noise = torch.Generator().manual_seed(0)
        result = pipe("a red circle on grass", num_inference_steps=6, generator=noise, output_type="latent")
        latents: torch.Tensor = result.images
        return latents

    path = tmp_path / "fast.ecad"
    path.write_text("cache all every 2 steps\n")
    plain = draw()
    with ecad.apply(pipe, str(path)):
        cached = draw()
    assert not torch.equal(plain, cached)
    assert torch.equal(plain, draw())
