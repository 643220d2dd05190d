"""Metrics beside their reference implementations, on random weights; oracle/record.py recorded what those say."""

import json
from pathlib import Path

import pytest
import torch

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.fidelity import Lpips, LpipsNetwork
from ecad_dsl.quality.image_reward import ImageReward
from ecad_dsl.quality.inception import Inception
from ecad_dsl.quality.metric import Batch, MetricReward, as_tensor
from ecad_dsl.quality.weights import fill, read_weights
from tests.quality.oracle import recipes
from tests.quality.tiny_metrics import image_reward_folder, shapes_of_image_reward

RECORDED = json.loads((Path(__file__).parent / "oracle" / "recorded.json").read_text())
SEEDS = ("1", "2")


def shapes(recorded: dict[str, str]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(map(int, shape.split())) for name, shape in recorded.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_rewards_are_those_of_the_package(seed: str, tmp_path: Path) -> None:
    weights = recipes.weights(shapes_of_image_reward(), int(seed))
    model = ImageReward.of(weights, recipes.MED, recipes.write_vocabulary(tmp_path), "cpu")
    rewards = model.numbers(Batch(recipes.pictures(), recipes.PROMPTS))[:, 0]
    assert rewards.tolist() == pytest.approx(RECORDED["image_reward"][seed], abs=1e-4)


def test_the_published_weights_all_have_a_place(tmp_path: Path) -> None:
    full = RECORDED["image_reward_full"]
    with torch.device("meta"):
        weights = {name: torch.empty(shape) for name, shape in shapes(full["shapes"]).items()}
    small = shapes_of_image_reward()
    assert {name for name in weights if "position_ids" not in name and "_proj." not in name} == _deepened(small)


def _deepened(small: dict[str, tuple[int, ...]]) -> set[str]:
    """Names of the published size: those of the last block of each encoder, for all blocks of the published one."""
    names = set()
    for name in small:
        for prefix, deep in (("blip.visual_encoder.blocks.", 24), ("blip.text_encoder.encoder.layer.", 12)):
            if name.startswith(prefix):
                rest = name.removeprefix(prefix).split(".", 1)[1]
                names |= {f"{prefix}{block}.{rest}" for block in range(deep)}
                break
        else:
            names.add(name)
    return names


def test_features_are_those_of_torch_fidelity() -> None:
    network = Inception()
    fill(network, recipes.weights(shapes(RECORDED["inception_shapes"]), 1), "recipe")
    for picture, recorded in zip(recipes.pictures(), RECORDED["inception"]["1"], strict=True):
        features = network(as_tensor([picture]))[0].double()
        signs = torch.tensor([1.0, -1.0]).repeat(1024).double()
        scale = features.abs().sum().item()
        assert features[:4].tolist() == pytest.approx(recorded["first"], rel=1e-4, abs=1e-5)
        assert features.sum().item() == pytest.approx(recorded["sum"], abs=1e-5 * scale)
        assert (features * signs).sum().item() == pytest.approx(recorded["alternating"], abs=1e-5 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_distances_are_those_of_lpips(seed: str) -> None:
    network = LpipsNetwork()
    alexnet = {f"features.{name}": tuple(tensor.shape) for name, tensor in network.features.state_dict().items()}
    metric = Lpips(LpipsNetwork.of(recipes.weights(alexnet, int(seed)), "recipe"))
    pictures = [picture.convert("RGB") for picture in recipes.pictures()]
    copies = [recipes.spoilt(picture, index) for index, picture in enumerate(pictures)]
    distances = metric.numbers(Batch(copies, originals=pictures))[:, 0]
    assert distances.tolist() == pytest.approx(RECORDED["lpips"][seed], abs=1e-5, rel=1e-4)


def test_lpips_refuses_what_is_too_small_for_its_network() -> None:
    network = LpipsNetwork()
    alexnet = {f"features.{name}": tensor for name, tensor in network.features.state_dict().items()}
    metric = Lpips(LpipsNetwork.of(alexnet, "recipe"))
    least, small = (recipes.pictures()[0].resize((side, 40)) for side in (31, 30))
    assert metric.numbers(Batch([least], originals=[least])).tolist() == [[0.0]]
    with pytest.raises(EcadError, match="lpips takes pictures of 31 x 31 pixels or more"):
        metric.numbers(Batch([small], originals=[small]))


def test_a_metric_is_a_reward_of_tensors_as_they_would_be_saved(tmp_path: Path) -> None:
    weights = recipes.weights(shapes_of_image_reward(), 1)
    model = ImageReward.of(weights, recipes.MED, recipes.write_vocabulary(tmp_path), "cpu")
    picture = recipes.pictures()[0]
    tensor = as_tensor([picture]).float() / 255 + 0.3 / 255
    reward = MetricReward(model)(tensor, recipes.PROMPTS[:1])
    assert reward.tolist() == model.numbers(Batch([picture], recipes.PROMPTS[:1]))[:, 0].tolist()


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EcadError, match="not the weights of ImageReward"):
        ImageReward.of({"a": torch.zeros(1)}, recipes.MED, recipes.write_vocabulary(tmp_path), "cpu")
    with pytest.raises(EcadError, match="missing or have another shape"):
        LpipsNetwork.of({}, "a file")
    folder = image_reward_folder(tmp_path / "published")
    (folder / "med_config.json").write_text('{"hidden_size": 64}')
    with pytest.raises(EcadError, match="does not say vocab_size"):
        ImageReward.load(str(folder))
    for name, content in (("cut.safetensors", b"junk"), ("page.pth", b"junk\n"), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EcadError, match="does not hold weights"):
            read_weights(tmp_path / name)
    (folder / "med_config.json").write_text("<html>")
    with pytest.raises(EcadError, match="is the download complete"):
        ImageReward.load(str(folder))
    recipes.write_med_config(folder)
    (folder / "ImageReward.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(EcadError, match="does not hold weights"):
        ImageReward.load(str(folder))
