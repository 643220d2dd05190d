"""What commands that load a pipeline or read prompts share: their options, and what is made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ecad_dsl.cli.console import Dtype
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.models import ModelSpec
    from ecad_dsl.pipelines.load import Loading
    from ecad_dsl.quality.prompt_files import PromptFile

ModelSource = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A model's name (`ecad models list`), a pipeline's folder, or owner/name on the hub."
    ),
]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
DtypeOption = Annotated[
    Dtype | None, typer.Option(help="Of the weights. Default: float32 on a CPU, else the checkpoint's own.")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; an accelerator if there is one.")]
OffloadOption = Annotated[
    Literal["none", "model", "group", "sequential"],
    typer.Option(help="What waits in the machine's memory: whole parts, or single layers (group, sequential)."),
]
QuantizeOption = Annotated[
    Literal["none", "bnb-int8", "bnb-nf4", "torchao-int8"],
    typer.Option(help="Keep the transformer's weights in 8 or 4 bits, by bitsandbytes or torchao."),
]
EmbeddingsOption = Annotated[
    Path | None, typer.Option(help="Folder that `ecad embed` filled; the text encoders are then not loaded.")
]
PromptArguments = Annotated[
    list[str],
    typer.Argument(metavar="PROMPTS...", help="Prompts, or files of them: .txt, .json, .jsonl, .csv, .tsv."),
]
CountOption = Annotated[int | None, typer.Option("--count", min=1, help="Draw so many of the prompts.")]
SubsetSeedOption = Annotated[int, typer.Option(min=0, help="Seed that draws them: --count with it is a fixed subset.")]
ShardOption = Annotated[
    str | None, typer.Option(metavar="K/N", help="Do the K-th of N equal shares, 1/N to N/N, each on a machine.")
]

SUFFIXES = (".txt", ".json", ".jsonl", ".csv", ".tsv")


def loading_of(
    model: str,
    revision: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
    offload: str = "none",
    quantize: str = "none",
) -> Loading:
    """How the options say that a pipeline is loaded; what is wrong about its name is known at once.

    Raises:
        EcadError: there is no such model or device.
    """
    from ecad_dsl.pipelines.load import Loading

    loading = Loading(model, revision, dtype, device, offload, quantize)  # type: ignore[arg-type]
    _ = loading.source, loading.torch_device
    return loading


def spec_named(model: str) -> ModelSpec:
    """The spec of a model's name or its file, or that of a pipeline's folder.

    Raises:
        EcadError: there is none.
    """
    from ecad_dsl.models import load_spec

    if not Path(model).is_dir():
        return load_spec(model)
    from ecad_dsl.pipelines.load import spec_of

    return spec_of(loading_of(model))


def gather_prompts(arguments: Sequence[str], count: int | None = None, seed: int = 0) -> PromptFile:
    """The prompts of all arguments together: those in files, and those written as they are.

    Raises:
        EcadError: a file cannot be read, or there are fewer than ``count``.
    """
    from ecad_dsl.quality.prompt_files import PromptFile, read_prompts

    files = [argument for argument in arguments if argument.lower().endswith(SUFFIXES)]
    if len(files) == len(arguments) == 1:
        whole = read_prompts(files[0])
    else:
        parts = [read_prompts(a) if a in files else PromptFile("", "", (a,), (a,), "") for a in arguments]
        prompts = tuple(prompt for part in parts for prompt in part.prompts)
        names = tuple(map(str, range(len(prompts))))
        whole = PromptFile("prompts", "several", prompts, names, " ".join(filter(None, (p.sha256 for p in parts))))
    return whole if count is None else whole.subset(count, seed)


def share(items: Sequence[Any], shard: str | None) -> Sequence[Any]:
    """The share of the items that ``K/N`` names: every N-th, from the K-th on; all of them for None.

    Raises:
        EcadError: it is not written so, or K is not one of 1 to N.
    """
    if shard is None:
        return items
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    number, total = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= total:
        raise EcadError(f"--shard is K/N with K from 1 to N, as 2/8, not {shard!r}")
    return items[number - 1 :: total]
