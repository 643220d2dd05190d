"""What a spec's table ``[checkpoint]`` says: which repositories of the hub hold the published weights of a model.

[checkpoint]
pipeline = "PixArtAlphaPipeline"       # class in diffusers
repo = "owner/name"                    # every part of the pipeline
transformer = "owner/other"            # but for this one, where it is in a repository of its own
revision = "main"                      # of the repository that the transformer is in; or a commit
gated = true                           # an account must have accepted the licence
scheduler = "DPMSolverMultistepScheduler"
dtype = "float16"                      # on an accelerator

[checkpoint.parts]                     # beside the transformer, so that it is known how large they are
text_encoder = { class = "T5EncoderModel", config = { ... } }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecad_dsl.errors import EcadError
from ecad_dsl.models.spec import ModelSpec


@dataclass(frozen=True)
class Checkpoint:
    """The published weights of a model. Every field is a key of the table."""

    pipeline: str
    repo: str
    transformer: str | None = None
    revision: str = "main"
    gated: bool = False
    scheduler: str | None = None
    dtype: str = "bfloat16"
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def repos(self) -> tuple[str, ...]:
        """Every repository that is read, the one with the transformer first."""
        return tuple(dict.fromkeys([self.transformer or self.repo, self.repo]))


def checkpoint_of(spec: ModelSpec) -> Checkpoint:
    """The checkpoint of a spec.

    Raises:
        EcadError: the spec names none, or the table is wrong.
    """
    if not spec.checkpoint:
        raise EcadError(
            f"the spec of {spec.title} does not say where weights are; name a pipeline's folder, or add a table"
            ' [checkpoint] with pipeline = "..." and repo = "owner/name"'
        )
    try:
        return Checkpoint(**spec.checkpoint)
    except TypeError as error:
        reason = str(error).partition("() ")[2]
        raise EcadError(f"the table [checkpoint] of {spec.title}: {reason}") from None
