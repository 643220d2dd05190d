"""What this machine has, what each published model needs, and what follows from both."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement

from ecad_dsl.models import load_spec, spec_names
from ecad_dsl.models.checkpoint import checkpoint_of
from ecad_dsl.pipelines.load import Loading
from ecad_dsl.pipelines.needs import needs_of_model
from ecad_dsl.pipelines.room import room_of, ways
from ecad_dsl.pipelines.source import snapshot_folder
from ecad_dsl.quality.memory import free_bytes

PACKAGES = ("ecad", "torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface-hub")


@dataclass(frozen=True)
class Device:
    """What computes."""

    name: str
    """As torch calls it."""
    title: str
    total: int | None
    free: int | None


@dataclass(frozen=True)
class Extra:
    """Optional packages: ``pip install 'ecad[name]'``."""

    name: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A published model on this machine."""

    name: str
    title: str
    parameters: Mapping[str, int]
    dtype: str
    bytes: int
    """Of all weights."""
    bytes_pictures: int
    """Of the weights without the text encoders."""
    cached: str
    """``yes``, ``partly`` or ``no``: whether the hub's cache has its weights."""
    gated: bool
    fits: str
    """``yes``, what it takes to fit, or ``no``."""


@dataclass(frozen=True)
class Report:
    """All that ``ecad doctor`` says."""

    python: str
    system: str
    versions: Mapping[str, str | None]
    devices: Sequence[Device]
    disk_free: int
    cache: str
    """Folder of the hub's cache."""
    has_token: bool
    extras: Sequence[Extra]
    models: Sequence[Model]
    advice: Sequence[str]


def examine(models: Sequence[str] | None = None, device: str | None = None) -> Report:
    """Look at this machine, and at what these models (all published ones, if none are named) would need on it.

    Raises:
        EcadError: a model is unknown, or the device cannot be used.
    """
    from huggingface_hub import constants, get_token

    known = [name for name in spec_names() if load_spec(name).checkpoint]
    for name in models or ():
        checkpoint_of(load_spec(name))
    devices, extras = _devices(), _extras()
    examined = [_model(name, device) for name in (known if models is None else models)]
    cache, has_token = Path(constants.HF_HUB_CACHE), get_token() is not None
    return Report(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        versions={name: _version(name) for name in PACKAGES},
        devices=devices,
        disk_free=shutil.disk_usage(_existing(cache)).free,
        cache=str(cache),
        has_token=has_token,
        extras=extras,
        models=examined,
        advice=list(_advice(devices, extras, examined, has_token)),
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _devices() -> list[Device]:
    cpu = torch.device("cpu")
    title = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    devices = [Device("cpu", title, _total_memory(), free_bytes(cpu))]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        devices.append(Device(f"cuda:{index}", torch.cuda.get_device_name(index), total, free))
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None and accelerator.type != "cuda":
        devices.append(Device(accelerator.type, accelerator.type, None, None))
    return devices


def _total_memory() -> int | None:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
    return int(fields["MemTotal"].split()[0]) * 1024


def _extras() -> list[Extra]:
    """The optional packages that ecad's own metadata name, but for those of its development."""
    requirements = [Requirement(text) for text in metadata.requires("ecad") or ()]
    names = [name for name in metadata.metadata("ecad").get_all("Provides-Extra") or () if name != "dev"]
    return [
        Extra(
            name,
            tuple(
                requirement.name
                for requirement in requirements
                if requirement.marker is not None
                and requirement.marker.evaluate({"extra": name})
                and not requirement.marker.evaluate({"extra": ""})
                and _version(requirement.name) is None
            ),
        )
        for name in names
    ]


def _model(name: str, device: str | None) -> Model:
    spec, loading = load_spec(name), Loading(name, device=device)
    checkpoint, needs = checkpoint_of(spec), needs_of_model(name)
    dtype = loading.torch_dtype
    return Model(
        name=name,
        title=spec.title,
        parameters=needs.parameters,
        dtype=str(dtype).removeprefix("torch."),
        bytes=sum(needs.bytes(dtype).values()),
        bytes_pictures=sum(needs.without_text().bytes(dtype).values()),
        cached=_cached(name),
        gated=checkpoint.gated,
        fits=_fits(loading),
    )


def _fits(loading: Loading) -> str:
    source = loading.source
    assert source is not None
    needs = needs_of_model(source.name)
    if room_of(loading, needs, "all").fits:
        return "yes"
    fitting = (text for other, parts, text in ways(loading, "all") if room_of(other, needs, parts).fits)
    return next(fitting, "no")


def _cached(name: str) -> str:
    """Whether the hub's cache has a weights file for every part."""
    spec = load_spec(name)
    checkpoint = checkpoint_of(spec)
    places = {"transformer": checkpoint.repos[0], **dict.fromkeys(checkpoint.parts, checkpoint.repo)}
    revisions = {checkpoint.repos[0]: checkpoint.revision}
    found = [
        any((snapshot_folder(repo, revisions.get(repo, "main")) / part).glob("*.safetensors"))
        for part, repo in places.items()
    ]
    return "yes" if all(found) else "partly" if any(found) else "no"


def _advice(
    devices: Sequence[Device], extras: Sequence[Extra], models: Sequence[Model], has_token: bool
) -> Iterator[str]:
    if len(devices) == 1:
        if shutil.which("nvidia-smi"):
            yield "there is an NVIDIA driver, but this torch does not use it; install a torch build with CUDA"
        else:
            yield "there is no accelerator: the reference model runs well, published models take minutes a picture"
    for extra in extras:
        if extra.missing:
            yield f"{', '.join(extra.missing)} not installed: pip install 'ecad[{extra.name}]'"
    gated = [model.name for model in models if model.gated and model.cached != "yes"]
    if gated and not has_token:
        yield (
            f"{', '.join(gated)}: accept the licence on their pages on huggingface.co, then log in (`hf auth login`,"
            " or HF_TOKEN)"
        )
    for way in dict.fromkeys(model.fits for model in models if model.fits not in ("yes", "no")):
        yield f"{', '.join(model.name for model in models if model.fits == way)}: too large as it is; {way}"
    none = [model.name for model in models if model.fits == "no"]
    if none:
        yield f"{', '.join(none)}: too large for this machine in any way that ecad knows"
