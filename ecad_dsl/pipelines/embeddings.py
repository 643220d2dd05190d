"""Prompt embeddings that are computed once and kept, so that a search needs no text encoder.

A folder holds ``encoding.json``, which says what the embeddings are of, and shards: safetensors files with the tensors
of some prompts each. A prompt's tensors are kept under a key, the hash of its text and of the encoding.
"""

from __future__ import annotations

import hashlib
import inspect as signatures
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ecad_dsl.errors import EcadError
from ecad_dsl.files import write_beside, write_text
from ecad_dsl.pipelines.load import Loading, call_defaults
from ecad_dsl.pipelines.source import is_text_part

ENCODING = "encoding.json"
_BLOCK = 1 << 16
_BLOCKS = 16

OUTPUTS: Mapping[str, Mapping[str, int]] = {
    "PixArtAlphaPipeline": {"prompt_embeds": 0, "prompt_attention_mask": 1},
    "PixArtSigmaPipeline": {"prompt_embeds": 0, "prompt_attention_mask": 1},
    "FluxPipeline": {"prompt_embeds": 0, "pooled_prompt_embeds": 1},
    "StableDiffusion3Pipeline": {"prompt_embeds": 0, "pooled_prompt_embeds": 2},
}
"""Where each tensor stands among what ``encode_prompt`` of a pipeline returns, by the argument that takes it back."""
SETTINGS = ("max_sequence_length", "clean_caption")
"""Arguments of ``encode_prompt`` that the embeddings depend on."""


@dataclass(frozen=True)
class Encoding:
    """What embeddings are of: the encoders and how they were asked."""

    pipeline: str
    """Class whose ``encode_prompt`` made them."""
    model: str
    """As it was named; for people, and no part of the keys."""
    revision: str | None
    encoders: str
    """Hash of the text encoders and tokenizers, see ``fingerprint``."""
    dtype: str
    settings: Mapping[str, Any]

    @cached_property
    def id(self) -> str:
        """Hash of all that decides the numbers."""
        said = {"pipeline": self.pipeline, "encoders": self.encoders, "dtype": self.dtype, "settings": self.settings}
        return _hash(said)

    def key(self, prompt: str) -> str:
        """What a prompt's tensors are kept under."""
        return _hash([self.id, prompt])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def fingerprint(modules: Mapping[str, Any]) -> str:
    """Hash of text encoders and tokenizers by their configurations and weights.

    Of a large tensor a sample is read (16 blocks of 64 KiB, evenly spread), so that it takes no minute for T5.
    """
    digest = hashlib.sha256()
    for name, module in sorted(modules.items()):
        digest.update(name.encode())
        if isinstance(module, torch.nn.Module):
            for key, tensor in sorted(module.state_dict().items()):
                digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(_sample(tensor))
        elif module is not None:
            digest.update(json.dumps(module.get_vocab(), sort_keys=True).encode())
            digest.update(str(module.model_max_length).encode())
    return digest.hexdigest()


def _sample(tensor: Tensor) -> bytes:
    flat = tensor.detach().contiguous().flatten().view(torch.uint8)
    if len(flat) <= _BLOCK * _BLOCKS:
        return flat.cpu().numpy().tobytes()
    starts = torch.linspace(0, len(flat) - _BLOCK, _BLOCKS, dtype=torch.float64).long().tolist()
    return b"".join(flat[start : start + _BLOCK].cpu().numpy().tobytes() for start in starts)


class Embeddings:
    """Stored embeddings of prompts, in a folder that ``embed`` fills."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        """Raises:
        EcadError: the folder holds no embeddings, or a shard is damaged.
        """
        self.folder = Path(folder)
        self.encoding = _read_encoding(self.folder)
        self._places: dict[str, Path] = {}
        for shard in sorted(self.folder.glob("[!.]*.safetensors")):  # with a dot: one that was being written
            self._places |= dict.fromkeys(_keys(shard), shard)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def width(self) -> int | None:
        """Numbers in the embedding of a token; None where no prompt is stored yet."""
        for key, shard in self._places.items():
            with safe_open(shard, "pt") as file:
                return int(file.get_slice(f"{key}.prompt_embeds").get_shape()[-1])
        return None

    def __contains__(self, prompt: str) -> bool:
        return self.encoding.key(prompt) in self._places

    def missing(self, prompts: Iterable[str]) -> list[str]:
        """Prompts that are not there, each once."""
        return [prompt for prompt in dict.fromkeys(prompts) if prompt not in self]

    def check(self, prompts: Iterable[str]) -> None:
        """Refuse prompts that are not there.

        Raises:
            EcadError: the message names the first.
        """
        if missing := self.missing(prompts):
            more = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
            raise EcadError(
                f"the embeddings in {self.folder} do not hold the prompt {missing[0]!r}{more}; add them with"
                f" `ecad embed --model {self.encoding.model} -o {self.folder}`"
            )

    def read(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The tensors of prompts, by the argument that takes them, the prompts along the first dimension.

        Raises:
            EcadError: some are not there.
        """
        self.check(prompts)
        rows = [self._row(self.encoding.key(prompt)) for prompt in prompts]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _row(self, key: str) -> dict[str, Tensor]:
        with safe_open(self._places[key], "pt") as file:
            return {name: file.get_tensor(f"{key}.{name}") for name in OUTPUTS[self.encoding.pipeline]}


def _read_encoding(folder: Path) -> Encoding:
    try:
        return Encoding(**json.loads((folder / ENCODING).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise EcadError(
            f"{folder} holds no embeddings; make them: ecad embed PROMPTS --model MODEL -o {folder}"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise EcadError(f"cannot read {folder / ENCODING}: {error}") from None


def _keys(shard: Path) -> set[str]:
    try:
        with safe_open(shard, "pt") as file:
            return {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118 - the file is no dict
    except (OSError, SafetensorError) as error:
        raise EcadError(f"the shard {shard} is damaged ({error}); delete it and run `ecad embed` again") from error


# Making them.


def embed(
    prompts: Iterable[str],
    folder: str | PathLike[str],
    loading: Loading,
    *,
    batch: int = 1,
    shard_bytes: int = 256 << 20,
    on_done: Callable[[int], None] = lambda _: None,
) -> int:
    """Encode the prompts that a folder does not hold yet, with the text encoders of a pipeline alone.

    The prompt "" is added, which guidance wants. A shard is written when it is full, whole or not at all: killed at any
    instant, the same call goes on after the last one. Several processes may fill one folder, each with prompts of its
    own.

    Args:
        prompts: any number; each is encoded once.
        folder: made if need be. It holds one encoding: other encoders or other settings are refused.
        loading: how the pipeline is loaded.
        batch: prompts encoded in one pass. With 1 the numbers are, bit for bit, those that the pipeline itself
            computes for one prompt; with more they may differ in the last place, as they do in a pipeline called
            with several.
        shard_bytes: of the tensors in a shard, about.
        on_done: told how many prompts a pass has encoded.

    Returns:
        How many prompts were encoded.

    Raises:
        EcadError: the pipeline cannot be loaded or keeps no embeddings; the folder holds others.
    """
    folder = Path(folder)
    pipe = loading.load("text")
    encoding = encoding_of(pipe, loading)
    _claim(folder, encoding)
    missing = Embeddings(folder).missing([*prompts, ""])
    rows: dict[str, Tensor] = {}
    texts: dict[str, str] = {}
    try:
        for start in range(0, len(missing), batch):
            chosen = missing[start : start + batch]
            for prompt, row in zip(chosen, _encode(pipe, encoding, chosen), strict=True):
                key = encoding.key(prompt)
                texts[key] = prompt
                rows |= {f"{key}.{name}": tensor for name, tensor in row.items()}
            if sum(tensor.nbytes for tensor in rows.values()) >= shard_bytes:
                _write_shard(folder, rows, texts)
                rows, texts = {}, {}
            on_done(len(chosen))
    finally:  # Ctrl-C loses nothing
        if rows:
            _write_shard(folder, rows, texts)
    return len(missing)


def encoding_of(pipe: Any, loading: Loading) -> Encoding:
    """What the embeddings of a pipeline are of.

    Raises:
        EcadError: it is none of the pipelines whose embeddings can be kept, or lacks its text encoders.
    """
    name = _family(pipe)
    parts = {part: module for part, module in pipe.components.items() if is_text_part(part)}
    if not any(isinstance(module, torch.nn.Module) for module in parts.values()):
        raise EcadError(f"the pipeline {loading.model} has no text encoder")
    source = loading.source
    return Encoding(
        name,
        loading.model,
        None if source is None else source.revision,
        fingerprint(parts),
        str(loading.torch_dtype).removeprefix("torch."),
        _settings(pipe),
    )


def _settings(pipe: Any) -> dict[str, Any]:
    """What the pipeline's prompts are encoded with when its call is given the model's own settings."""
    known = signatures.signature(type(pipe).encode_prompt).parameters
    said = {key: known[key].default for key in SETTINGS if key in known}
    return said | {key: value for key, value in call_defaults(pipe).items() if key in said}


def _family(pipe: Any) -> str:
    for cls in type(pipe).__mro__:
        if cls.__name__ in OUTPUTS:
            return cls.__name__
    raise EcadError(
        f"the embeddings of a {type(pipe).__name__} cannot be kept; those of {', '.join(OUTPUTS)} can: leave out the"
        " embeddings, and prompts are encoded as they come"
    )


def _claim(folder: Path, encoding: Encoding) -> None:
    """Say what the folder's embeddings are of, or refuse where it is something else."""
    if not (folder / ENCODING).exists():
        write_text(folder / ENCODING, json.dumps(asdict(encoding), indent=2) + "\n")
        return
    own = _read_encoding(folder)
    if own.id != encoding.id:
        raise EcadError(f"{folder} holds embeddings of {_differing(own, encoding)}; name another folder with -o")


def _differing(own: Encoding, other: Encoding) -> str:
    for name in ("pipeline", "dtype", "settings"):
        if getattr(own, name) != getattr(other, name):
            return f"another {name} ({getattr(own, name)}, not {getattr(other, name)})"
    return f"other text encoders (of {own.model}, not of {other.model})"


@torch.no_grad()
def _encode(pipe: Any, encoding: Encoding, prompts: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The tensors of each prompt, on the CPU."""
    known = signatures.signature(type(pipe).encode_prompt).parameters
    options: dict[str, Any] = {key: None for key in ("prompt_2", "prompt_3") if key in known}
    if "do_classifier_free_guidance" in known:
        options["do_classifier_free_guidance"] = False
    encoder = next(m for n, m in pipe.components.items() if is_text_part(n) and isinstance(m, torch.nn.Module))
    outputs = pipe.encode_prompt(list(prompts), device=encoder.device, **options, **encoding.settings)
    places = OUTPUTS[encoding.pipeline]
    for index in range(len(prompts)):
        yield {name: outputs[place][index].cpu().clone() for name, place in places.items()}


def _write_shard(folder: Path, rows: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """A file that is named by what it holds, so that no two processes write the same."""
    name = _hash(sorted(texts))[:16]
    metadata = {"prompts": json.dumps(texts, ensure_ascii=False)}
    write_beside(folder / f"{name}.safetensors", lambda path: save_file(dict(rows), path, metadata))


# Using them.


def use_embeddings(pipe: Any, embeddings: Embeddings) -> None:
    """Let a pipeline take its prompts from stored embeddings from now on; it needs no text encoder.

    Raises:
        EcadError: they were made for another pipeline, or with other settings than the model's own.
    """
    encoding = embeddings.encoding
    if _family(pipe) != encoding.pipeline:
        raise EcadError(
            f"the embeddings in {embeddings.folder} are of a {encoding.pipeline}, and this is a {type(pipe).__name__};"
            " make others: `ecad embed`"
        )
    config = pipe.transformer.config
    taken = config.get("caption_channels", config.get("joint_attention_dim"))
    if embeddings.width not in (None, taken):
        raise EcadError(
            f"the embeddings in {embeddings.folder}, of {encoding.model}, are {embeddings.width} wide, and this"
            f" pipeline's transformer takes {taken}; make others: `ecad embed`"
        )
    encoders = {part: module for part, module in pipe.components.items() if is_text_part(part)}
    if all(module is not None for module in encoders.values()) and fingerprint(encoders) != encoding.encoders:
        raise EcadError(
            f"the embeddings in {embeddings.folder} are of other text encoders than this pipeline has; make others:"
            " `ecad embed`"
        )
    pipe.encode_prompt = StoredPrompts(pipe, embeddings)


class StoredPrompts:
    """Takes the place of a pipeline's ``encode_prompt``: the pipeline's own, with the embeddings of the prompts."""

    def __init__(self, pipe: Any, embeddings: Embeddings) -> None:
        self._pipe = pipe
        self._embeddings = embeddings

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the pipeline's ``encode_prompt``.

        Raises:
            EcadError: a prompt is not stored, or was stored with other settings.
        """
        own = type(self._pipe).encode_prompt
        call = signatures.signature(own).bind(self._pipe, *args, **kwargs)
        call.apply_defaults()
        given = call.arguments
        self._check(given)
        if given.get("prompt_embeds") is None:
            # Some pipelines repeat what they are given for the pictures of a prompt, others leave it to the caller.
            count, given["num_images_per_prompt"] = given["num_images_per_prompt"], 1
            prompts = _each(_listed(given["prompt"]), count)
            given |= self._placed(prompts)
            given["prompt"] = None
            if given.get("do_classifier_free_guidance") and given.get("negative_prompt_embeds") is None:
                negative = given["negative_prompt"] or ""
                negatives = [negative] * len(prompts) if isinstance(negative, str) else _each(negative, count)
                given |= {f"negative_{name}": tensor for name, tensor in self._placed(negatives).items()}
        return own(*call.args, **call.kwargs)

    def _check(self, given: Mapping[str, Any]) -> None:
        for name, value in self._embeddings.encoding.settings.items():
            if given[name] != value:
                raise EcadError(
                    f"the embeddings in {self._embeddings.folder} were made with {name} {value}, and this call asks for"
                    f" {given[name]}; give {name}={value} to the call"
                )
        for name in ("prompt_2", "prompt_3"):
            if given.get(name) not in (None, given["prompt"]):
                raise EcadError(f"stored embeddings are of one prompt for all encoders; leave out {name}")

    def _placed(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The stored tensors where the pipeline computes, of its type; masks keep theirs."""
        device, dtype = self._pipe._execution_device, self._pipe.transformer.dtype
        stored = self._embeddings.read(prompts)
        return {n: t.to(device, dtype) if t.is_floating_point() else t.to(device) for n, t in stored.items()}


def _listed(prompts: str | Sequence[str]) -> list[str]:
    return [prompts] if isinstance(prompts, str) else list(prompts)


def _each(prompts: Sequence[str], count: int) -> list[str]:
    return [prompt for prompt in prompts for _ in range(count)]
