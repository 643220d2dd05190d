"""Loading pipelines: by the name of a published model out of the hub's cache, from folders, and what is said where
weights, packages or memory are missing."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from huggingface_hub.errors import GatedRepoError

import ecad_dsl as ecad
from ecad_dsl.errors import EcadError
from ecad_dsl.models import load_spec, spec_names
from ecad_dsl.models.checkpoint import checkpoint_of
from ecad_dsl.pipelines import load, room
from ecad_dsl.pipelines.load import Loading, call_defaults
from ecad_dsl.pipelines.needs import needs_of, needs_of_model
from ecad_dsl.pipelines.room import check_memory
from ecad_dsl.pipelines.source import commit_of, find_source
from tests.tiny_pipelines import PIPELINES, SIDE

Folders = Callable[[str], Path]
PUBLISHED = [name for name in spec_names() if name != "reference"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, Path], None]:
    """Puts folders into a cache of the hub, of which alone is read: there is no connection."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def store(repo: str, folder: Path, *parts: str) -> None:
        place = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
        commit = "0" * 40
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text(commit)
        for part in parts or [path.name for path in folder.iterdir()]:
            target = place / "snapshots" / commit / part
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (folder / part).is_dir() else shutil.copy)(folder / part, target)

    return store


def draw(pipe: Any, **options: Any) -> torch.Tensor:
    noise = torch.Generator().manual_seed(0)
    options = {**call_defaults(pipe), "num_inference_steps": 2, "height": SIDE, "width": SIDE, **options}
    images: torch.Tensor = pipe("a red cat", generator=noise, output_type="pt", **options).images
    return images


@pytest.mark.parametrize("name", PIPELINES)
def test_a_folder_is_loaded_as_diffusers_loads_it(tiny_folders: Folders, name: str) -> None:
    assert commit_of(find_source(tiny_folders(name))) is None
    own, plain = ecad.load_pipeline(tiny_folders(name)), DiffusionPipeline.from_pretrained(tiny_folders(name))
    assert type(own) is type(plain)
    assert torch.equal(draw(own), draw(plain))


@pytest.mark.parametrize(
    ("model", "folder"),
    [("pixart-alpha", "pixart-alpha"), ("pixart-sigma-1024", "pixart-sigma"), ("flux.1-dev", "flux")],
)
def test_a_published_model_is_found_in_the_cache_of_the_hub(
    hub: Any, tiny_folders: Folders, monkeypatch: pytest.MonkeyPatch, model: str, folder: str
) -> None:
    monkeypatch.setattr(load, "check_memory", lambda *_: None)
    checkpoint = checkpoint_of(load_spec(model))
    hub(checkpoint.repo, tiny_folders(folder))
    if checkpoint.repos[0] != checkpoint.repo:
        hub(checkpoint.repos[0], tiny_folders(folder), "transformer")
    pipe = ecad.load_pipeline(model)
    assert commit_of(find_source(model)) == "0" * 40
    assert type(pipe).__name__ == checkpoint.pipeline
    assert checkpoint.scheduler in (None, type(pipe.scheduler).__name__)
    assert draw(pipe).shape == (1, 3, SIDE, SIDE)
    assert call_defaults(pipe)["guidance_scale"] == load_spec(model).defaults["guidance_scale"]


def test_the_scheduler_of_the_spec_takes_the_place_of_another(
    hub: Any, tmp_path: Path, tiny_folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "check_memory", lambda *_: None)
    copy = shutil.copytree(tiny_folders("pixart-alpha"), tmp_path / "copy")
    DDIMScheduler().save_pretrained(copy / "scheduler")
    index = copy / "model_index.json"
    index.write_text(index.read_text().replace("DPMSolverMultistepScheduler", "DDIMScheduler"))
    hub("PixArt-alpha/PixArt-XL-2-1024-MS", copy)
    hub("PixArt-alpha/PixArt-XL-2-256x256", copy, "transformer")
    assert type(ecad.load_pipeline("pixart-alpha").scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert type(ecad.load_pipeline(copy).scheduler) is DDIMScheduler
    with pytest.raises(EcadError, match="lack adaln_single"):  # of the size and shape of the picture
        ecad.load_pipeline("pixart-alpha-1024")


@pytest.mark.parametrize("model", PUBLISHED)
def test_every_published_model_says_where_its_weights_are_and_how_it_is_called(model: str) -> None:
    spec = load_spec(model)
    checkpoint = checkpoint_of(spec)
    call = inspect.signature(getattr(diffusers, checkpoint.pipeline).__call__).parameters
    assert set(spec.defaults) <= set(call)
    assert {"guidance_scale", "max_sequence_length"} <= set(spec.defaults)
    assert all(repo.count("/") == 1 for repo in checkpoint.repos)
    assert spec.inputs["text_tokens"] == spec.defaults["max_sequence_length"] + 77 * model.startswith("sd3")


def test_needs_are_counted_without_a_weight_in_memory(tiny_folders: Folders) -> None:
    full = needs_of_model("flux.1-dev").parameters
    assert full["transformer"] == 11_901_408_320
    assert full["text_encoder_2"] == 4_762_310_656
    tiny = needs_of(find_source(tiny_folders("sd3")))
    pipe = ecad.load_pipeline(tiny_folders("sd3"))
    assert tiny is not None
    assert tiny.parameters == {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in pipe.components.items()
        if isinstance(module, torch.nn.Module)
    }


def test_memory_that_is_too_small_is_told_with_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda _: 30 << 30)
    with pytest.raises(EcadError) as error:
        check_memory(Loading("flux.1-dev", device="cpu"))
    message = str(error.value)
    assert "take 62.8 GiB in float32 (transformer 44.3 GiB" in message
    assert message.endswith(
        "cpu has 30.0 GiB free; encode the prompts before (`ecad embed`) and take bfloat16; or quantize the transformer"
        " (torchao-int8); or encode the prompts before and quantize the transformer (torchao-int8)"
    )
    check_memory(Loading("flux.1-dev", dtype="bfloat16", device="cpu"), "pictures")
    monkeypatch.setattr(room, "free_bytes", lambda _: 1 << 30)
    with pytest.raises(EcadError, match=r"1\.0 GiB free; take a machine that has more"):
        check_memory(Loading("flux.1-dev", device="cpu"))


def test_what_is_missing_is_said(
    hub: Any, tiny_folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(load, "check_memory", lambda *_: None)
    with pytest.raises(EcadError, match=r"31\.4 GiB in 16 bits.*black-forest-labs/FLUX\.1-dev is gated.*hf auth login"):
        ecad.load_pipeline("flux.1-dev")
    with pytest.raises(EcadError, match=r"no such folder, and no model of this name; known are flux.1-dev"):
        ecad.load_pipeline("pixart-beta")
    with pytest.raises(EcadError, match=r"'\./nowhere': there is no such folder"):
        ecad.load_pipeline("./nowhere")
    with pytest.raises(EcadError, match=r"has no model_index.json"):
        ecad.load_pipeline(tmp_path)
    with pytest.raises(EcadError, match="has no revisions"):
        ecad.load_pipeline(tiny_folders("flux"), revision="main")
    with pytest.raises(EcadError, match="cannot use the device 'warp'"):
        ecad.load_pipeline(tiny_folders("flux"), device="warp")
    with pytest.raises(EcadError, match="weights can be float32"):
        ecad.load_pipeline(tiny_folders("flux"), dtype=torch.int8)
    with pytest.raises(EcadError, match="nothing to offload from a CPU"):
        ecad.load_pipeline(tiny_folders("flux"), device="cpu", offload="model")
    broken = shutil.copytree(tiny_folders("pixart-alpha"), tmp_path / "broken")
    (broken / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(EcadError, match=r"cannot load the pipeline .*broken.*is the folder complete\?"):
        ecad.load_pipeline(broken)
    (broken / "model_index.json").write_text("{")
    with pytest.raises(EcadError, match=r"cannot read .*model_index.json"):
        ecad.load_pipeline(broken)


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
def test_a_file_that_is_cut_short_is_named(
    hub: Any, tiny_folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    monkeypatch.setattr(load, "check_memory", lambda *_: None)
    folder = shutil.copytree(tiny_folders("pixart-alpha"), tmp_path / "short")
    (file,) = (folder / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:2000])
    hub("me/short", folder)
    for model in (folder, "me/short"):
        with pytest.raises(EcadError, match=rf"{part}/\w+\.safetensors is damaged or cut short"):
            ecad.load_pipeline(model)


def test_a_gated_repository_says_how_to_be_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr(load, "check_memory", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(EcadError, match=r"accept its licence on https://huggingface.co/black-forest-labs/FLUX.1-dev"):
        ecad.load_pipeline("flux.1-dev")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_needs_are_what_the_weights_take(tiny_folders: Folders, dtype: Any) -> None:
    loading = Loading(str(tiny_folders("flux")), dtype=dtype, device="cpu")
    needs = needs_of(find_source(loading.model))
    assert needs is not None
    assert needs.bytes(getattr(torch, dtype)) == {
        name: sum(parameter.nbytes for parameter in module.parameters())
        for name, module in loading.load().components.items()
        if isinstance(module, torch.nn.Module)
    }


def test_weights_are_read_in_the_type_that_is_asked_for(tiny_folders: Folders) -> None:
    pipe = ecad.load_pipeline(tiny_folders("sd3"), dtype="bfloat16")
    assert {pipe.transformer.dtype, pipe.text_encoder_3.dtype, pipe.vae.dtype} == {torch.bfloat16}
    assert ecad.load_pipeline(dtype=torch.bfloat16).transformer.dtype == torch.bfloat16


def test_a_quantised_transformer_runs_under_a_schedule(tiny_folders: Folders) -> None:
    pytest.importorskip("torchao")
    pipe = ecad.load_pipeline(tiny_folders("flux"), quantize="torchao-int8", dtype="bfloat16")
    with ecad.apply(pipe, ecad.parse("cache all every 2 steps"), 2):
        assert not draw(pipe).isnan().any()
