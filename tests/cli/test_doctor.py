"""``ecad doctor``: what a machine has and what fits, told of machines that it is made to believe in."""

import json
from pathlib import Path

import pytest
import torch

from ecad_dsl.pipelines import doctor, room


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with 40 GiB free, an empty cache of the hub, and no token."""
    monkeypatch.setattr(room, "free_bytes", lambda _: 40 << 30)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    return tmp_path / "hub"


def test_models_are_told_to_fit_or_what_it_takes(ecad, machine: Path) -> None:
    code, out, _ = ecad("doctor", "pixart-alpha", "flux.1-dev", "--device", "cpu", "--json")
    assert code == 0
    report = json.loads(out)
    pixart, flux = report["models"]
    assert (pixart["fits"], pixart["cached"], pixart["dtype"]) == ("yes", "no", "float32")
    assert pixart["bytes"] == 4 * sum(pixart["parameters"].values()) == 4 * (610_856_096 + 4_762_310_656 + 83_653_863)
    assert flux["fits"] == "take bfloat16"  # 31.4 GiB
    assert flux["bytes_pictures"] < flux["bytes"]
    assert report["versions"]["torch"] == torch.__version__
    assert report["devices"][0]["name"] == "cpu"
    assert any(line.startswith("flux.1-dev: accept the licence") for line in report["advice"])
    assert "flux.1-dev: too large as it is; take bfloat16" in report["advice"]


def test_cached_weights_are_seen_part_by_part(ecad, machine: Path) -> None:
    def keep(repo: str, *parts: str) -> None:
        place = machine / f"models--{repo.replace('/', '--')}"
        (place / "refs").mkdir(parents=True, exist_ok=True)
        (place / "refs" / "main").write_text("c0ffee")
        for part in parts:
            (place / "snapshots" / "c0ffee" / part).mkdir(parents=True)
            (place / "snapshots" / "c0ffee" / part / "model.safetensors").touch()

    def cached() -> str:
        told: str = json.loads(ecad("doctor", "pixart-alpha", "--json")[1])["models"][0]["cached"]
        return told

    keep("PixArt-alpha/PixArt-XL-2-256x256", "transformer")
    assert cached() == "partly"
    keep("PixArt-alpha/PixArt-XL-2-1024-MS", "text_encoder", "vae")
    assert cached() == "yes"


def test_all_published_models_are_in_the_table_in_plain_words(ecad) -> None:
    code, out, _ = ecad("doctor", "--device", "cpu")
    assert code == 0
    assert out.startswith("Python 3")
    for word in ("pixart-alpha", "flux.1-schnell", "sd3.5-large", "no token is set", "Advice"):
        assert word in out


def test_extras_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    required = ["torch>=2", "one>=1; extra == 'a'", "two; extra == 'a'", "three; extra == 'dev'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: required)
    monkeypatch.setattr(doctor.metadata, "metadata", lambda _: type("", (), {"get_all": lambda *_: ["a", "dev"]})())
    monkeypatch.setattr(doctor, "_version", lambda name: "1" if name == "one" else None)
    assert doctor._extras() == [doctor.Extra("a", ("two",))]


def test_an_unknown_model_and_an_unknown_device_are_refused(ecad) -> None:
    assert "unknown model 'pixart-omega'" in ecad("doctor", "pixart-omega")[2]
    assert "does not say where weights are" in ecad("doctor", "reference")[2]
    assert "cannot use the device 'warp'" in ecad("doctor", "pixart-alpha", "--device", "warp")[2]
