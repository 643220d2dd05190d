"""What a pipeline lacks that cannot be loaded, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ecad_dsl.errors import EcadError
from ecad_dsl.pipelines.needs import in_gib, needs_of
from ecad_dsl.pipelines.source import Source, snapshot_folder


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """What the hub's and diffusers' errors mean, and what to do about them."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    name = f"cannot load the pipeline {source.name!r}"
    repos = source.checkpoint.repos if source.checkpoint is not None else (source.place,)
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EcadError(f"{name}: the device has not enough memory; offload, or quantize the transformer") from error
    except GatedRepoError as error:
        raise EcadError(f"{name}: {_gated(repos[0])}") from error
    except RevisionNotFoundError as error:
        raise EcadError(f"{name}: {source.place} has no revision {source.revision!r} on the hub") from error
    except RepositoryNotFoundError as error:
        raise EcadError(
            f"{name}: the hub has no repository {' or '.join(repos)} that you may read; if it is private, log in with"
            " `hf auth login`"
        ) from error
    except ImportError as error:
        raise EcadError(f"{name}: {_first_line(error)}") from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # the hub's own errors are OSErrors
        if (damaged := _damaged_file(source, repos)) is not None:
            raise EcadError(f"{name}: {damaged} is damaged or cut short; delete it and download it again") from error
        if source.is_folder:
            hint = "; is the folder complete?" if isinstance(error, OSError) else ""
            raise EcadError(f"{name}: {_first_line(error)}{hint}") from error
        needs = needs_of(source)
        size = "" if needs is None else f" (about {in_gib(sum(needs.bytes(torch.bfloat16).values()))} in 16 bits)"
        gated = f"; {_gated(repos[0])}" if source.checkpoint is not None and source.checkpoint.gated else ""
        raise EcadError(
            f"{name}: its weights{size} are not all in the cache, and cannot be downloaded from {' and '.join(repos)}:"
            f" {_first_line(error)}. Connect to the hub, or name a folder that holds the pipeline{gated}"
        ) from error


def check_complete(source: Source, pipe: Any) -> None:
    """Refuse a pipeline whose files lacked some of its weights.

    Raises:
        EcadError: the message names the first.
    """
    for part, module in pipe.components.items():
        if isinstance(module, torch.nn.Module):
            lacking = next((name for name, parameter in module.named_parameters() if parameter.is_meta), None)
            if lacking is not None:
                raise EcadError(
                    f"cannot load the pipeline {source.name!r}: the weights of its {part} lack {lacking}; they are of"
                    " another model, or the file is cut short"
                )


def _damaged_file(source: Source, repos: tuple[str, ...]) -> Path | None:
    """The first file of weights that cannot be read, in a folder or in the hub's cache."""
    if source.revision is None:
        folders = [Path(source.place)]
    else:
        folders = [snapshot_folder(repo, source.revision if repo == repos[0] else "main") for repo in repos]
    for file in (file for folder in folders for file in sorted(folder.glob("*/*.safetensors"))):
        try:
            with safe_open(file, "pt"):
                pass
        except (OSError, SafetensorError):
            return file
    return None


def _gated(repo: str) -> str:
    return (
        f"{repo} is gated: accept its licence on https://huggingface.co/{repo}, then log in with `hf auth login`"
        " or set HF_TOKEN"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
