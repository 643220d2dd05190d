"""Loading a pipeline: published by a model's name, from a folder, or from the hub."""

from __future__ import annotations

import inspect as signatures
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import diffusers
import torch
from diffusers.utils import logging
from transformers.utils import logging as transformers_logging

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.models.meta import arguments, meta_transformer
from ecad_dsl.pipelines.missing import check_complete, explained
from ecad_dsl.pipelines.room import Parts, Quantize, check_memory
from ecad_dsl.pipelines.source import Source, find_source, is_text_part, part_names, pipeline_class, read_index
from ecad_dsl.reference.pipeline import ReferencePipeline, load_reference
from ecad_dsl.runtime import inspect

DtypeName = Literal["float32", "bfloat16", "float16"]
Offload = Literal["none", "model", "group", "sequential"]
"""What waits in the machine's memory until it is needed: whole parts, groups of blocks, or single layers."""
_FILES = ("*.json", "*.safetensors", "*.model", "*.txt")
_VARIANTS = ("*.fp16.*", "*.bf16.*", "*.non_ema.*")


@dataclass(frozen=True)
class Loading:
    """How a pipeline is loaded: a recipe, so that other processes can follow it too."""

    model: str = "reference"
    """Name of a model, .toml file of a spec, folder of a pipeline, or repository of the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; the spec's own if None."""
    dtype: DtypeName | None = None
    """Of the weights. None: float32 on a CPU, the checkpoint's own elsewhere."""
    device: str | None = None
    """None: an accelerator if there is one."""
    offload: Offload = "none"
    quantize: Quantize = "none"

    @cached_property
    def source(self) -> Source | None:
        """Where the parts are; None for the reference model, which ships with the package.

        Raises:
            EcadError: there is no such model.
        """
        return None if self.model == "reference" else find_source(self.model, self.revision)

    @property
    def torch_device(self) -> torch.device:
        """The device that computes.

        Raises:
            EcadError: it cannot be used.
        """
        return usable_device(self.device)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of the weights."""
        if self.dtype is not None:
            return getattr(torch, self.dtype)  # type: ignore[no-any-return]
        if self.model == "reference" or self.torch_device.type == "cpu":
            return torch.float32
        checkpoint = self.source.checkpoint if self.source is not None else None
        return getattr(torch, checkpoint.dtype if checkpoint is not None else "bfloat16")  # type: ignore[no-any-return]

    def load(self, parts: Parts = "all") -> Any:
        """The pipeline, or some of its parts, ready to be called.

        Raises:
            EcadError: weights, a token, a package or memory are missing, and the message says what to do.
        """
        if self.source is None:
            return self._reference(parts)
        check_memory(self, parts)
        folder = _fetch(self.source, self.source.place, parts)
        pipe = self._pipeline(self.source, folder, parts)
        pipe.set_progress_bar_config(disable=True)
        self._place(pipe)
        if parts == "text":
            pipe.transformer = _stand_in(self.source, folder)
        return pipe

    def _reference(self, parts: Parts) -> ReferencePipeline:
        if self.offload != "none" or self.quantize != "none":
            raise EcadError("the reference model is too small to be offloaded or quantised; leave that out")
        pipe = load_reference()
        for name in list(pipe.components):
            if _is_left_out(name, parts) and name != "transformer":
                pipe.register_modules(**{name: None})
        for module in pipe.components.values():
            if isinstance(module, torch.nn.Module):
                torch.nn.Module.to(module, self.torch_device, self.torch_dtype)
        return pipe

    def _pipeline(self, source: Source, folder: Path, parts: Parts) -> Any:
        index = read_index(folder)
        cls = pipeline_class(source.checkpoint.pipeline if source.checkpoint else index["_class_name"])
        chosen: dict[str, Any] = {
            name: None for name in (*part_names(index), *_optional(cls)) if _is_left_out(name, parts)
        }
        with _quiet(), explained(source):
            if parts != "text" and (self.quantize != "none" or source.checkpoint is not None):
                chosen["transformer"] = self._transformer(source, folder, index)
            pipe = cls.from_pretrained(folder, dtype=self.torch_dtype, local_files_only=True, **chosen)
        check_complete(source, pipe)
        scheduler = source.checkpoint.scheduler if source.checkpoint is not None else None
        if scheduler is not None and type(pipe.scheduler).__name__ != scheduler:
            pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
        return pipe

    def _transformer(self, source: Source, folder: Path, index: Mapping[str, Any]) -> Any:
        checkpoint, spec = source.checkpoint, source.spec
        if checkpoint is not None and checkpoint.transformer not in (None, checkpoint.repo):
            folder = _fetch(source, checkpoint.transformer, "pictures", ("transformer",))
        name = spec.transformer if spec is not None else index["transformer"][1]
        # A configuration on the hub that is older than this argument leaves it to be guessed.
        told = {key: spec.config[key] for key in ("use_additional_conditions",) if spec and key in spec.config}
        quantization = _quantization(self.quantize, self.torch_dtype)
        options = told if quantization is None else {**told, "quantization_config": quantization}
        cls = getattr(diffusers, name)
        return cls.from_pretrained(folder / "transformer", dtype=self.torch_dtype, **options)

    def _place(self, pipe: Any) -> None:
        device = self.torch_device
        if self.offload == "none":
            pipe.to(device)
        elif device.type == "cpu":
            raise EcadError("there is nothing to offload from a CPU; leave out the offloading, or name an accelerator")
        elif self.offload == "model":
            pipe.enable_model_cpu_offload(device=device)
        elif self.offload == "sequential":
            pipe.enable_sequential_cpu_offload(device=device)
        else:
            pipe.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")


def load_pipeline(
    model: str | PathLike[str] = "reference",
    *,
    revision: str | None = None,
    dtype: DtypeName | torch.dtype | None = None,
    device: str | torch.device | None = None,
    offload: Offload = "none",
    quantize: Quantize = "none",
    embeddings: str | PathLike[str] | None = None,
) -> Any:
    """Load a diffusers pipeline with its weights.

    Args:
        model: a model's name (``pixart-alpha``, see ``ecad models list``), a pipeline's folder, a repository of the hub
            (``owner/name``), or the .toml file of a spec with a table ``[checkpoint]``. Published weights are
            downloaded once, into the hub's own cache.
        revision: branch, tag or commit on the hub, if not the spec's own.
        dtype: of the weights; float32 on a CPU and the checkpoint's own elsewhere if not given.
        device: an accelerator if there is one, if not given.
        offload: what waits in the machine's memory: ``model`` (whole parts), ``group`` or ``sequential`` (layers).
        quantize: ``bnb-int8``, ``bnb-nf4`` or ``torchao-int8`` for the transformer.
        embeddings: folder that ``ecad embed`` has filled. The text encoders are then not loaded, and prompts must be
            among those in the folder.

    Returns:
        The pipeline. Its call has diffusers' own defaults; :func:`call_defaults` gives those of the model's spec.

    Raises:
        EcadError: weights, a token, a package or memory are missing.
    """
    name = str(dtype).removeprefix("torch.") if dtype is not None else None
    if name is not None and name not in get_args(DtypeName):
        raise EcadError(f"weights can be {', '.join(get_args(DtypeName))}, not {name}")
    loading = Loading(str(model), revision, name, None if device is None else str(device), offload, quantize)  # type: ignore[arg-type]
    return load_with_embeddings(loading, None if embeddings is None else Path(embeddings))


def load_with_embeddings(loading: Loading, embeddings: Path | None) -> Any:
    """The whole pipeline or, where there is a folder of embeddings, one that takes its prompts from there.

    Raises:
        EcadError: as :meth:`Loading.load`; the folder holds no embeddings, or those of another model.
    """
    if embeddings is None:
        return loading.load()
    from ecad_dsl.pipelines.embeddings import Embeddings, use_embeddings

    stored = Embeddings(embeddings)  # before minutes of loading
    pipe = loading.load("pictures")
    use_embeddings(pipe, stored)
    return pipe


def call_defaults(pipe: Any) -> dict[str, Any]:
    """Arguments that the pipeline's call should be given: the settings in the spec of its model.

    Steps and size are among them for a model of the very configuration of the spec; a smaller one of its class has
    others, which its pipeline knows.
    """
    if isinstance(pipe, ReferencePipeline):
        return dict(pipe.defaults)
    spec = inspect(pipe)
    known = signatures.signature(type(pipe).__call__).parameters
    defaults = {key: value for key, value in spec.defaults.items() if key in known}
    if "steps" in spec.inputs:
        defaults["num_inference_steps"] = spec.inputs["steps"]
    if is_full_size(pipe, spec):
        defaults |= {key: spec.inputs[key] for key in ("height", "width") if key in spec.inputs}
    return defaults


def check_step_count(pipe: Any, steps: int) -> None:
    """Refuse more steps than the pipeline's noise schedule has.

    Raises:
        EcadError: the message names the limit.
    """
    limit = getattr(pipe.scheduler.config, "num_train_timesteps", None)
    if limit is not None and steps > limit:
        raise EcadError(f"{steps} steps are too many: the pipeline's scheduler has {limit}; ask for fewer")


def spec_of(loading: Loading) -> ModelSpec:
    """The spec of a pipeline's transformer, before its weights are read.

    Raises:
        EcadError: a folder's transformer has nothing to cache, or the hub is needed and cannot be reached.
    """
    source = loading.source
    if source is None:
        return load_spec("reference")
    if source.spec is not None:
        return source.spec
    folder = _fetch(source, source.place, "text")
    named = type(read_index(folder)["_class_name"], (), {})()
    named.transformer = _stand_in(source, folder)
    return inspect(named)


def is_full_size(pipe: Any, spec: ModelSpec) -> bool:
    """Whether a spec that was read off a pipeline is one that ships, so that it was not made smaller."""
    return spec.name in spec_names() and load_spec(spec.name) == spec and hasattr(pipe, "transformer")


def usable_device(name: str | None) -> torch.device:
    """The device of this name, or an accelerator if there is one, or the CPU.

    Raises:
        EcadError: it cannot be used.
    """
    try:
        if name is None:
            return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EcadError(f"cannot use the device {name!r}: {reason}; the device cpu is always there") from error
    return device


# Files.


def _fetch(source: Source, repo: str, parts: Parts, only: tuple[str, ...] = ()) -> Path:
    """The folder of a repository's parts, downloaded if need be; a folder is there already.

    Raises:
        EcadError: they cannot be had.
    """
    if source.is_folder:
        return Path(source.place)
    from huggingface_hub import snapshot_download

    own = repo == source.checkpoint.repos[0] if source.checkpoint is not None else True
    revision = source.revision if own else "main"
    with explained(source):
        if only:
            return Path(snapshot_download(repo, revision=revision, allow_patterns=_patterns(only)))
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=["model_index.json"]))
        elsewhere = source.checkpoint is not None and source.checkpoint.transformer not in (None, repo)
        names = [
            name
            for name in part_names(read_index(folder))
            if not _is_left_out(name, parts) and not (elsewhere and name == "transformer")
        ]
        patterns = [*_patterns(names), "model_index.json", "transformer/config.json"]
        return Path(
            snapshot_download(repo, revision=revision, allow_patterns=patterns, ignore_patterns=list(_VARIANTS))
        )


def _stand_in(source: Source, folder: Path) -> Any:
    """The transformer without its weights: it knows its configuration, which a pipeline may ask for."""
    if source.spec is not None:
        return meta_transformer(source.spec.transformer, source.spec.config)
    name = read_index(folder)["transformer"][1]
    return meta_transformer(name, arguments(name, getattr(diffusers, name).load_config(folder / "transformer")))


def _patterns(parts: tuple[str, ...] | list[str]) -> list[str]:
    return [f"{part}/{pattern}" for part in parts for pattern in _FILES]


def _is_left_out(part: str, parts: Parts) -> bool:
    if parts == "text":
        return not is_text_part(part) and part != "scheduler"
    return parts == "pictures" and is_text_part(part)


def _optional(cls: Any) -> list[str]:
    """Parts that a pipeline can do without, which it would otherwise ask for."""
    return list(cls._optional_components)


def _quantization(quantize: Quantize, dtype: torch.dtype) -> Any:
    """diffusers' configuration of it; None where nothing is quantised.

    Raises:
        EcadError: the package is missing.
    """
    if quantize == "none":
        return None
    package = "torchao" if quantize.startswith("torchao") else "bitsandbytes"
    if package == "bitsandbytes" and not torch.accelerator.is_available():
        raise EcadError(f"{quantize} works on an accelerator alone; on a CPU take torchao-int8")
    try:
        __import__(package)
    except ImportError:
        raise EcadError(
            f"quantize {quantize} needs the package {package}; install it: pip install 'ecad[quantize]'"
        ) from None
    if quantize == "torchao-int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return diffusers.TorchAoConfig(Int8WeightOnlyConfig())
    if quantize == "bnb-int8":
        return diffusers.BitsAndBytesConfig(load_in_8bit=True)
    return diffusers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no remarks while parts are read: errors are raised anyway."""
    verbosity, theirs = logging.get_verbosity(), transformers_logging.get_verbosity()
    logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
        logging.enable_progress_bar()
        transformers_logging.set_verbosity(theirs)
        logging.set_verbosity(verbosity)
