"""ImageReward: how much people would like a picture for its prompt, by the published weights in transformers' BLIP.

Source: Xu et al., *ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation* (arXiv
2304.05977), and the package ``image-reward`` 1.5, whose numbers these are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.metric import Batch, Need, cropped, device_of, fingerprint, mean
from ecad_dsl.quality.weights import fill, from_hub, read_weights

if TYPE_CHECKING:
    from transformers import BlipTextConfig, BlipVisionConfig

PUBLISHED = "THUDM/ImageReward"
VOCABULARY = "google-bert/bert-base-uncased"

_MEAN, _DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of the rewards over the training prompts."""
_TOKENS = 35
_HEAD_WIDTH = 64
"""Of the vision transformer's attention, in every size of it."""

_TEXT_SETTINGS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "pad_token_id",
)
"""What transformers and med_config.json call alike."""

# What the package calls the parts of a model, and what transformers does.
_VISION_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
)


class ImageReward:
    """Give it pictures and prompts; more is better. Trained rewards have mean 0 and deviation 1 over its prompts."""

    name = "image-reward"
    needs: frozenset[Need] = frozenset({"prompts"})
    more_is_better = True

    def __init__(self, vision: Any, text: nn.Module, head: nn.Module, tokenizer: Any, identity: str) -> None:
        self._vision, self._text, self._head, self._tokenizer = vision, text, head, tokenizer
        self._size: int = vision.config.image_size
        self.identity = identity

    @classmethod
    def load(
        cls, source: str | None = None, device: torch.device | str = "cpu", revision: str | None = None
    ) -> ImageReward:
        """From the published ``ImageReward.pt`` and ``med_config.json``.

        Args:
            source: a name on the hub, or a folder with the two files. A ``vocab.txt`` in the folder is the
                tokenizer's; without one it is that of bert-base-uncased, from the hub. Default: ``THUDM/ImageReward``.
            device: where it runs, in float32.
            revision: of the hub's repository.

        Raises:
            EcadError: a file is missing, cannot be fetched or does not fit.
        """
        source = source or PUBLISHED
        weights = read_weights(from_hub(source, "ImageReward.pt", "1.8 GB", revision))
        settings = _settings(from_hub(source, "med_config.json", "1 kB", revision))
        vocabulary = Path(source) / "vocab.txt"
        if not vocabulary.is_file():
            vocabulary = from_hub(VOCABULARY, "vocab.txt", "232 kB")
        return cls.of(weights, settings, vocabulary, device)

    @classmethod
    def of(
        cls, weights: Mapping[str, Tensor], settings: Mapping[str, Any], vocabulary: Path, device: torch.device | str
    ) -> ImageReward:
        """From weights by the package's names, and the settings of its text encoder.

        Raises:
            EcadError: weights are missing or do not fit.
        """
        from transformers import BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        seen = _renamed(_part(weights, "blip.visual_encoder."), _VISION_NAMES)
        read = _part(weights, "blip.text_encoder.")
        vision_config = _vision_config(seen)
        text_config = _text_config(settings, vision_config.hidden_size)
        with torch.device("meta"):
            vision = BlipVisionModel(vision_config)
            text = BlipTextModel(text_config, add_pooling_layer=False)
        fill(vision, seen, "ImageReward's picture encoder")
        fill(text, read, "ImageReward's text encoder")
        text.embeddings.position_ids = torch.arange(text_config.max_position_embeddings)[None]
        head = _head(_part(weights, "mlp.layers."))
        for part in (vision, text, head):
            part.float().to(device)
        return cls(vision, text, head, _tokenizer(vocabulary), fingerprint(weights))

    @torch.no_grad()
    def numbers(self, batch: Batch) -> Array:
        device = device_of(self._vision)
        pixels = torch.stack([cropped(picture, self._size) for picture in batch.pictures])
        seen = self._vision(pixels.to(device)).last_hidden_state
        words = self._tokens(batch.prompts).to(device)
        read = self._text(
            words["input_ids"],
            attention_mask=words["attention_mask"],
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=device),
        ).last_hidden_state[:, 0]
        rewards: Array = ((self._head(read) - _MEAN) / _DEVIATION).double().cpu().numpy()
        return rewards

    def total(self, numbers: Array) -> float:
        return mean(numbers)

    def _tokens(self, prompts: Sequence[str]) -> Any:
        return self._tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=_TOKENS, return_tensors="pt"
        )


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _renamed(weights: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in weights.items():
        new = name
        for pattern, replacement in names:
            new = re.sub(pattern, replacement, new)
        renamed[new] = tensor
    return renamed


def _vision_config(weights: Mapping[str, Tensor]) -> BlipVisionConfig:
    """The size of the picture encoder, read off its weights."""
    from transformers import BlipVisionConfig

    try:
        patches = weights["embeddings.patch_embedding.weight"]
        positions = weights["embeddings.position_embedding"].shape[1] - 1
        hidden = weights["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as missing:
        raise EcadError(f"these are not the weights of ImageReward: {missing} is missing") from None
    width, patch = patches.shape[0], patches.shape[-1]
    return BlipVisionConfig(
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=len({name.split(".")[2] for name in weights if name.startswith("encoder.layers.")}),
        num_attention_heads=width // _HEAD_WIDTH,
        image_size=patch * round(positions**0.5),
        patch_size=patch,
        layer_norm_eps=1e-6,
        hidden_act="gelu",
        attention_dropout=0.0,
        attn_implementation="eager",
    )


def _settings(file: Path) -> dict[str, Any]:
    """Of the text encoder."""
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        missing = [name for name in _TEXT_SETTINGS if name not in settings]
    except (OSError, ValueError, TypeError) as error:
        raise EcadError(f"cannot read {file}: {error}; is the download complete?") from error
    if missing:
        raise EcadError(f"{file} does not say {missing[0]}; is it the med_config.json of ImageReward?")
    return settings


def _text_config(settings: Mapping[str, Any], vision_width: int) -> BlipTextConfig:
    from transformers import BlipTextConfig

    # Only what transformers calls a decoder has cross-attention; the mask is that of an encoder all the same.
    return BlipTextConfig(
        **{name: settings[name] for name in _TEXT_SETTINGS},
        encoder_hidden_size=vision_width,
        is_decoder=True,
        attn_implementation="eager",
    )


def _head(weights: Mapping[str, Tensor]) -> nn.Module:
    """Linear layers one after the other, with nothing in between but the dropout of training."""
    numbers = sorted({int(name.split(".")[0]) for name in weights})
    if not numbers:
        raise EcadError("these are not the weights of ImageReward: mlp.layers is missing")
    layers = []
    for number in numbers:
        outputs, inputs = weights[f"{number}.weight"].shape
        layer = nn.Linear(inputs, outputs, device="meta")
        fill(layer, _part(weights, f"{number}."), "ImageReward's head")
        layers.append(layer)
    return nn.Sequential(*layers)


def _tokenizer(vocabulary: Path) -> Any:
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(str(vocabulary), do_lower_case=True)
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_tokens(["[ENC]"], special_tokens=True)
    return tokenizer
