"""Finding a pipeline: by a model's name, in a folder, or on the hub."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import diffusers

from ecad_dsl.errors import EcadError
from ecad_dsl.models import ModelSpec, is_spec_file, load_spec, spec_names
from ecad_dsl.models.checkpoint import Checkpoint, checkpoint_of

INDEX = "model_index.json"


@dataclass(frozen=True)
class Source:
    """Where the parts of a pipeline come from."""

    name: str
    """What it was asked for by."""
    place: str
    """A folder, or a repository of the hub."""
    revision: str | None
    """Of the repository with the transformer: a branch, a tag or a commit. None for a folder."""
    spec: ModelSpec | None = None
    """Of a model that is known by name."""
    checkpoint: Checkpoint | None = None

    @property
    def is_folder(self) -> bool:
        return self.revision is None


def find_source(model: str | PathLike[str], revision: str | None = None) -> Source:
    """The source of a model's name, the .toml file of a spec, a pipeline's folder or a repository of the hub.

    Raises:
        EcadError: it is none of these, and the message says what there is; or a folder was given a revision.
    """
    name = str(model)
    if Path(name).is_dir():
        if not (Path(name) / INDEX).is_file():
            raise EcadError(f"cannot load the pipeline {name!r}: the folder has no {INDEX}, so it holds no pipeline")
        if revision is not None:
            raise EcadError(f"{name} is a folder, which has no revisions; leave out the revision {revision!r}")
        return Source(name, name, None)
    if name in spec_names() or is_spec_file(name):
        spec = load_spec(name)
        checkpoint = checkpoint_of(spec)
        return Source(name, checkpoint.repo, revision or checkpoint.revision, spec, checkpoint)
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        return Source(name, name, revision or "main")
    known = [known for known in spec_names() if known == "reference" or load_spec(known).checkpoint]
    raise EcadError(
        f"cannot load the pipeline {name!r}: there is no such folder, and no model of this name; known are"
        f" {', '.join(known)}; or name a repository of the hub, owner/name"
    )


def snapshot_folder(repo: str, revision: str) -> Path:
    """The folder of a repository in the hub's cache, or where it would be."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    reference = place / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    return place / "snapshots" / commit


def commit_of(source: Source) -> str | None:
    """The commit that a revision of the transformer's repository stands for in the hub's cache; None for a folder."""
    if source.revision is None:
        return None
    repo = source.checkpoint.repos[0] if source.checkpoint is not None else source.place
    folder = snapshot_folder(repo, source.revision)
    return folder.name if folder.is_dir() else None


def read_index(folder: Path) -> dict[str, Any]:
    """What a pipeline's folder says of its parts: [library, class] by name, and ``_class_name``.

    Raises:
        EcadError: the file cannot be read or is no such thing.
    """
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EcadError(f"cannot read {path}: {error}") from None
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise EcadError(f"{path} does not say the class of the pipeline (_class_name)")
    return index


def part_names(index: dict[str, Any]) -> list[str]:
    """Parts that a pipeline's folder holds; those that are null it does without."""
    return [
        name
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and value and value[0] is not None
    ]


def is_text_part(name: str) -> bool:
    """Whether a part is there for the prompts alone."""
    return name.startswith(("text_encoder", "tokenizer"))


def pipeline_class(name: str) -> Any:
    """A pipeline class of diffusers.

    Raises:
        EcadError: diffusers has none of this name.
    """
    cls = getattr(diffusers, name, None)
    if not isinstance(cls, type) or not issubclass(cls, diffusers.DiffusionPipeline):
        raise EcadError(f"diffusers {diffusers.__version__} has no pipeline {name}")
    return cls
