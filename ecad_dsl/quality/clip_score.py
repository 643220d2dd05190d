"""CLIP score: how near a picture and its prompt come to each other in CLIP's space."""

from __future__ import annotations

from typing import Any

import torch

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.bootstrap import Array
from ecad_dsl.quality.metric import Batch, Need, cropped, device_of, fingerprint, mean

PUBLISHED = "openai/clip-vit-large-patch14"


class ClipScore:
    """``max(0, 100 cos)`` between the embeddings of a picture and of its prompt: Hessel et al., arXiv 2104.08718,
    in the scale of 100 that papers on caching use."""

    name = "clip"
    needs: frozenset[Need] = frozenset({"prompts"})
    more_is_better = True

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        self.identity = fingerprint(model.state_dict())

    @classmethod
    def load(
        cls, source: str | None = None, device: torch.device | str = "cpu", revision: str | None = None
    ) -> ClipScore:
        """Any checkpoint of transformers' CLIPModel.

        Args:
            source: a name on the hub or a folder. Default: ``openai/clip-vit-large-patch14``.
            device: where it runs, in float32.
            revision: of the hub's repository.

        Raises:
            EcadError: there is no such checkpoint, or it cannot be fetched.
        """
        from transformers import CLIPModel, CLIPTokenizer

        source = source or PUBLISHED
        try:
            model = CLIPModel.from_pretrained(source, revision=revision, dtype=torch.float32)
            tokenizer = CLIPTokenizer.from_pretrained(source, revision=revision)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise EcadError(
                f"cannot load CLIP from {source}: {reason}; name a CLIP model of the hub, or a folder with its files"
            ) from error
        return cls(model.to(device).eval().requires_grad_(False), tokenizer)

    @torch.no_grad()
    def numbers(self, batch: Batch) -> Array:
        size = self._model.config.vision_config.image_size
        words = self._tokenizer(
            list(batch.prompts),
            padding=True,
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        pixels = torch.stack([cropped(picture, size) for picture in batch.pictures])
        device = device_of(self._model)
        found = self._model(
            input_ids=words["input_ids"].to(device),
            attention_mask=words["attention_mask"].to(device),
            pixel_values=pixels.to(device),
        )
        cosines = (found.image_embeds * found.text_embeds).sum(-1, keepdim=True)
        scores: Array = (100 * cosines).clamp(min=0).double().cpu().numpy()
        return scores

    def total(self, numbers: Array) -> float:
        return mean(numbers)
