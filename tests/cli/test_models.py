"""``ecad models list | show | inspect``, and specs in files wherever a model is named."""

import json
from pathlib import Path

import pytest

from ecad_dsl.models import load_spec, spec_names

WAN = {"_class_name": "WanTransformer3DModel", "_diffusers_version": "0.1", "num_layers": 3, "gone_since": 1}
SMALL = {"num_attention_heads": 2, "attention_head_dim": 8, "ffn_dim": 16}

PIXART = "model pixart-alpha\nsteps 4\ncache ffn in blocks 0-13\n"


@pytest.fixture
def wan(ecad, tmp_path: Path) -> Path:
    """The spec of a small Wan, which no shipped spec describes."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**WAN, **SMALL}))
    assert ecad("models", "inspect", config, "-o", tmp_path / "wan.toml")[0] == 0
    return tmp_path / "wan.toml"


def test_all_shipped_models_are_listed(ecad) -> None:
    code, out, _ = ecad("models", "list")
    assert code == 0
    assert all(f"\n{name} " in out for name in spec_names())
    assert [model["name"] for model in json.loads(ecad("models", "list", "--json")[1])] == list(spec_names())


def test_show_says_where_components_are_and_what_roles_mean(ecad) -> None:
    code, out, _ = ecad("models", "show", "flux.1-dev")
    assert code == 0
    assert out.startswith("FLUX.1-dev (flux.1-dev), FluxTransformer2DModel: 57 blocks, 171 cells a step\n")
    lines = [line.split() for line in out.splitlines()]
    assert ["mlp", "proj_mlp", "single_proj_mlp,", "proj_mlp", "out"] in lines
    assert ["ffn", "ffn_image,", "ffn_text,", "mlp,", "out"] in lines
    assert ["cross", "-"] in lines
    assert "single: 38 blocks in single_transformer_blocks (blocks 19-56 of all)" in out


def test_show_as_json_is_the_spec(ecad) -> None:
    facts = json.loads(ecad("models", "show", "sd3.5-medium", "--json")[1])
    (stack,) = facts["stacks"]
    assert stack["components"][1] == {"name": "attn_image", "module": "attn2", "aliases": ["attn2"], "feeds": None}
    assert facts["roles"]["attn"] == ["attn_joint", "attn_image"]


def test_a_spec_in_a_file_stands_for_a_model(ecad, write, wan: Path) -> None:
    program = write("steps 4\ncache ffn every 2 steps\n")
    assert load_spec(wan).blocks == 3
    assert load_spec(str(wan)).config["ffn_dim"] == 16
    assert ["self", "attn1", "attn1"] in [line.split() for line in ecad("models", "show", wan)[1].splitlines()]
    for command in ("check", "show", "explain", "compile"):
        code, _, err = ecad(command, program, "--model", wan)
        assert (code, err) == (0, ""), command
    other = write("steps 4\ncache ffn every 3 steps\n", "b.ecad")
    assert ecad("diff", program, other, "--model", wan)[0] == 1
    masks = wan.parent / "masks.safetensors"
    assert ecad("compile", program, "-m", wan, "-o", masks)[0] == 0
    assert ecad("show", masks, "--model", wan)[0] == 0
    retargeted = ecad("retarget", write(PIXART, "c.ecad"), "--to", wan)
    assert retargeted[0] == 0
    assert retargeted[1].startswith("model wan\n")
    code, _, err = ecad("cost", program, "--model", wan, "--height", 64, "--width", 64)
    assert code == 2
    assert "does not say what the transformer is fed" in err


@pytest.mark.parametrize("inside", ["transformer/config.json", "config.json"])
def test_a_folder_as_on_the_hub_is_read(ecad, tmp_path: Path, inside: str) -> None:
    path = tmp_path / inside
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**WAN, **SMALL}))
    code, out, _ = ecad("models", "inspect", tmp_path)
    assert code == 0
    assert 'path = "blocks"\nblocks = 3\n' in out
    assert "gone_since" not in out


def test_a_class_with_its_defaults_needs_no_configuration(ecad) -> None:
    code, out, _ = ecad("models", "inspect", "LTXVideoTransformer3DModel")
    assert code == 0
    assert "\nblocks = 28\n" in out


def test_a_class_of_a_shipped_family_keeps_its_names(ecad, tmp_path: Path) -> None:
    config = tmp_path / "small.json"
    config.write_text(json.dumps({"num_layers": 2, "num_single_layers": 3}))
    assert ecad("models", "inspect", "FluxTransformer2DModel", "-c", config, "-o", tmp_path / "f.toml")[0] == 0
    assert load_spec(tmp_path / "f.toml").is_family_of(load_spec("flux.1-dev"))
    assert load_spec(tmp_path / "f.toml").select("full_ff") is not None


@pytest.mark.parametrize(
    ("arguments", "text", "complaint"),
    [
        (["WanTransformer"], "", "has no transformer WanTransformer; did you mean WanTransformer3DModel?"),
        (["EcadError"], "", "has no transformer EcadError"),
        (["HunyuanDiT2DModel"], "", "cannot be made of its defaults alone; pass its configuration"),
        (["AutoencoderKL"], "", "AutoencoderKL has no list of blocks"),
        (["DiTTransformer2DModel", "-c", "c.json"], '{"num_layers": "x"}', "cannot be made of this configuration"),
        (["DiTTransformer2DModel", "-c", "c.json"], "[1]", "must hold the arguments of the class by name, not a list"),
        (["DiTTransformer2DModel", "-c", "c.json"], "{", "c.json is no JSON"),
        (["DiTTransformer2DModel", "-c", "none.json"], "", "there is no file none.json"),
        (["c.json"], "{}", "does not say its _class_name"),
        (["c.json", "-c", "c.json"], "{}", "leave out --config"),
        (["."], "", "has neither transformer/config.json nor config.json"),
        (["DiTTransformer2DModel", "-o", "dit.json"], "", "written as .toml, not as 'dit.json'"),
    ],
)
def test_what_cannot_be_inspected_is_said(ecad, tmp_path, monkeypatch, arguments, text, complaint) -> None:
    monkeypatch.chdir(tmp_path)
    if text:
        (tmp_path / "c.json").write_text(text)
    code, out, err = ecad("models", "inspect", *arguments)
    assert (code, out) == (2, "")
    assert complaint in err
    assert not list(tmp_path.glob("*.toml"))


def test_an_unknown_model_is_told_how_to_be_known(ecad) -> None:
    code, _, err = ecad("models", "show", "wan")
    assert code == 2
    assert "known models: flux.1-dev, " in err
    assert "ecad models inspect" in err
