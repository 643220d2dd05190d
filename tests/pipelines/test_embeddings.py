"""Stored embeddings: pictures are, bit for bit, those of the pipeline with its text encoders, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

import ecad_dsl as ecad
from ecad_dsl.errors import EcadError
from ecad_dsl.pipelines.embeddings import Embeddings, embed, use_embeddings
from ecad_dsl.pipelines.load import Loading, call_defaults
from tests.tiny_pipelines import PIPELINES, SIDE

Folders = Callable[[str], Path]
PROMPTS = ["a photo of a red cat", "blue sphere on the snow", "a photo of a red cat", "Dog!"]


def loading(folder: Path) -> Loading:
    return Loading(str(folder), device="cpu")


def draw(pipe: Any, prompts: str | list[str], **options: Any) -> torch.Tensor:
    noise = torch.Generator().manual_seed(0)
    options = {**call_defaults(pipe), "num_inference_steps": 2, "height": SIDE, "width": SIDE, **options}
    images: torch.Tensor = pipe(prompts, generator=noise, output_type="pt", **options).images
    return images


@pytest.mark.parametrize("name", PIPELINES)
def test_pictures_are_bit_identical_without_the_text_encoders(tiny_folders: Folders, tmp_path: Path, name: str) -> None:
    folder = tiny_folders(name)
    assert embed(PROMPTS, tmp_path, loading(folder)) == 4  # three different ones, and the empty prompt
    stored = ecad.load_pipeline(folder, embeddings=tmp_path, device="cpu")
    assert not [part for part, module in stored.components.items() if "text" in part and module is not None]
    plain = DiffusionPipeline.from_pretrained(folder)
    for prompt in PROMPTS:
        assert torch.equal(draw(stored, prompt), draw(plain, prompt))
        assert torch.equal(draw(stored, prompt, num_images_per_prompt=2), draw(plain, prompt, num_images_per_prompt=2))
    assert torch.allclose(draw(stored, PROMPTS), draw(plain, PROMPTS), atol=1e-4)
    with (
        ecad.apply(stored, ecad.parse("cache all every 2 steps"), 2),
        ecad.apply(plain, ecad.parse("cache all every 2 steps"), 2),
    ):
        assert torch.equal(draw(stored, PROMPTS[0]), draw(plain, PROMPTS[0]))


def test_the_reference_model_draws_from_stored_embeddings_too(tmp_path: Path) -> None:
    prompt = "a red circle on grass"
    embed([prompt], tmp_path, Loading(device="cpu"))
    stored, plain = ecad.load_pipeline(embeddings=tmp_path, device="cpu"), ecad.load_pipeline(device="cpu")
    small = {"num_inference_steps": 2, "output_type": "latent"}
    pictures = [pipe(prompt, generator=torch.Generator().manual_seed(0), **small).images for pipe in (stored, plain)]
    assert torch.equal(*pictures)


def test_what_is_stored_is_not_encoded_again_and_prompts_can_be_added(tiny_folders: Folders, tmp_path: Path) -> None:
    own = loading(tiny_folders("pixart-alpha"))
    done: list[int] = []
    assert embed(PROMPTS[:1], tmp_path, own, on_done=done.append) == 2
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert embed(PROMPTS[:1], tmp_path, own, on_done=done.append) == 0
    assert embed(PROMPTS, tmp_path, own, batch=8, on_done=done.append) == 2
    assert done == [1, 1, 2]
    assert {path: path.read_bytes() for path in before} == before
    assert len(Embeddings(tmp_path)) == 4
    assert Embeddings(tmp_path).missing(["Dog!", "other", "other"]) == ["other"]


def test_interrupted_or_killed_it_goes_on_with_what_is_missing(tiny_folders: Folders, tmp_path: Path) -> None:
    own, prompts = loading(tiny_folders("pixart-alpha")), [f"a photo of {number} red cats" for number in range(6)]
    done = 0

    def interrupt(_: int) -> None:
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(prompts, tmp_path / "cut", own, on_done=interrupt)
    assert len(Embeddings(tmp_path / "cut")) == 3
    (shard,) = (tmp_path / "cut").glob("*.safetensors")
    shard.with_name(f".{shard.name}").write_bytes(shard.read_bytes()[:99])  # what a kill leaves behind
    assert embed(prompts, tmp_path / "cut", own, shard_bytes=1) == 4
    assert len(list((tmp_path / "cut").glob("[!.]*.safetensors"))) == 5
    embed(prompts, tmp_path / "whole", own)
    for name, tensor in Embeddings(tmp_path / "whole").read(prompts).items():
        assert torch.equal(Embeddings(tmp_path / "cut").read(prompts)[name], tensor)


def test_other_encoders_other_settings_and_unknown_prompts_are_refused(tiny_folders: Folders, tmp_path: Path) -> None:
    folder = tiny_folders("pixart-alpha")
    embed(PROMPTS[:1], tmp_path, loading(folder))
    with pytest.raises(EcadError, match="embeddings of another pipeline"):
        embed(PROMPTS, tmp_path, loading(tiny_folders("flux")))
    with pytest.raises(EcadError, match=r"another dtype \(float32, not bfloat16\)"):
        embed(PROMPTS, tmp_path, Loading(str(folder), device="cpu", dtype="bfloat16"))
    with pytest.raises(EcadError, match="are of a PixArtAlphaPipeline, and this is a FluxPipeline"):
        ecad.load_pipeline(tiny_folders("flux"), embeddings=tmp_path)
    with pytest.raises(EcadError, match="holds no embeddings; make them"):
        ecad.load_pipeline(folder, embeddings=tmp_path / "nowhere")
    wider = ecad.load_pipeline(folder)
    wider.transformer.register_to_config(caption_channels=48)
    with pytest.raises(EcadError, match="are 32 wide, and this pipeline's transformer takes 48"):
        use_embeddings(wider, Embeddings(tmp_path))
    pipe = ecad.load_pipeline(folder, embeddings=tmp_path, device="cpu")
    with pytest.raises(EcadError, match=r"do not hold the prompt 'blue', nor are 1 others; add them with"):
        draw(pipe, ["blue", PROMPTS[0], "green"])
    with pytest.raises(EcadError, match="with max_sequence_length 120, and this call asks for 300"):
        draw(pipe, PROMPTS[0], max_sequence_length=300)
    (shard,) = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(EcadError, match="is damaged"):
        Embeddings(tmp_path)
