"""Small models of the metrics with random weights, in files laid out as the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from ecad_dsl.quality.fidelity import LpipsNetwork
from ecad_dsl.quality.inception import Inception
from tests.quality.oracle import recipes
from tests.tiny_pipelines import _clip_tokenizer


def shapes_of_image_reward() -> dict[str, tuple[int, ...]]:
    """Names and shapes of ImageReward's weights in the published file, at the sizes of the recipes."""
    shapes: dict[str, tuple[int, ...]] = {}
    width, wide, hidden = recipes.VIT["embed_dim"], recipes.MED["hidden_size"], recipes.MED["intermediate_size"]

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str, size: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)

    vision, text = "blip.visual_encoder", "blip.text_encoder"
    shapes[f"{vision}.cls_token"], shapes[f"{vision}.pos_embed"] = (1, 1, width), (1, 197, width)
    shapes[f"{vision}.patch_embed.proj.weight"] = (width, 3, 16, 16)
    shapes[f"{vision}.patch_embed.proj.bias"] = (width,)
    for block in range(recipes.VIT["depth"]):
        at = f"{vision}.blocks.{block}"
        norm(f"{at}.norm1", width)
        linear(f"{at}.attn.qkv", 3 * width, width)
        linear(f"{at}.attn.proj", width, width)
        norm(f"{at}.norm2", width)
        linear(f"{at}.mlp.fc1", 4 * width, width)
        linear(f"{at}.mlp.fc2", width, 4 * width)
    norm(f"{vision}.norm", width)
    shapes[f"{text}.embeddings.word_embeddings.weight"] = (recipes.MED["vocab_size"], wide)
    shapes[f"{text}.embeddings.position_embeddings.weight"] = (recipes.MED["max_position_embeddings"], wide)
    norm(f"{text}.embeddings.LayerNorm", wide)
    for layer in range(recipes.MED["num_hidden_layers"]):
        at = f"{text}.encoder.layer.{layer}"
        for attention, source in (("attention", wide), ("crossattention", width)):
            linear(f"{at}.{attention}.self.query", wide, wide)
            linear(f"{at}.{attention}.self.key", wide, source)
            linear(f"{at}.{attention}.self.value", wide, source)
            linear(f"{at}.{attention}.output.dense", wide, wide)
            norm(f"{at}.{attention}.output.LayerNorm", wide)
        linear(f"{at}.intermediate.dense", hidden, wide)
        linear(f"{at}.output.dense", wide, hidden)
        norm(f"{at}.output.LayerNorm", wide)
    sizes = (wide, 1024, 128, 64, 16, 1)
    for layer, inputs, outputs in zip((0, 2, 4, 6, 7), sizes, sizes[1:], strict=False):
        linear(f"mlp.layers.{layer}", outputs, inputs)
    return shapes


def image_reward_folder(place: Path) -> Path:
    """With the files of the hub's repository, and the tokenizer's vocabulary."""
    place.mkdir(parents=True, exist_ok=True)
    torch.save(recipes.weights(shapes_of_image_reward(), 1), place / "ImageReward.pt")
    recipes.write_med_config(place)
    recipes.write_vocabulary(place)
    return place


def clip_folder(place: Path) -> Path:
    """A CLIP of two narrow encoders."""
    text: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    tokenizer = _clip_tokenizer()
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config={
                **text,
                "num_hidden_layers": 2,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": 77,
                "eos_token_id": tokenizer.eos_token_id,
                "bos_token_id": tokenizer.bos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            vision_config={**text, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8},
            projection_dim=16,
        )
    )
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def inception_file(path: Path) -> Path:
    """Inception v3 at its own size, of random weights by the published names."""
    shapes = {name: tuple(tensor.shape) for name, tensor in Inception().state_dict().items()}
    random = recipes.weights({name: shape for name, shape in shapes.items() if "num_batches" not in name}, 1)
    torch.save({**random, "fc.weight": torch.zeros(1008, 2048)}, path)
    return path


def alexnet_file(path: Path) -> Path:
    """AlexNet's convolutions, of random weights by torchvision's names."""
    own = LpipsNetwork().features.state_dict()
    shapes = {f"features.{name}": tuple(tensor.shape) for name, tensor in own.items()}
    torch.save({**recipes.weights(shapes, 1), "classifier.1.bias": torch.zeros(1)}, path)
    return path


@pytest.fixture(scope="session")
def metric_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights by the names of metrics, made once a session. Read them, and leave them as they are."""
    place = tmp_path_factory.mktemp("metrics")
    return {
        "image-reward": image_reward_folder(place / "ImageReward"),
        "clip": clip_folder(place / "clip"),
        "fid": inception_file(place / "inception.pth"),
        "lpips": alexnet_file(place / "alexnet.pth"),
    }
