"""``ecad embed``: prompts encoded once, and ``ecad prompts``: what is in a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecad_dsl.cli.console import (
    GOES_ON,
    JsonOption,
    check_writable,
    echo,
    echo_err,
    interruptible,
    print_json,
    progress_bar,
    writable_folder,
)
from ecad_dsl.cli.loading import (
    CountOption,
    DeviceOption,
    DtypeOption,
    ModelSource,
    PromptArguments,
    RevisionOption,
    ShardOption,
    SubsetSeedOption,
    gather_prompts,
    loading_of,
    share,
)


def register(app: typer.Typer) -> None:
    app.command()(embed)
    app.command()(prompts)


@interruptible(f"what is encoded is kept, and {GOES_ON}")
def embed(
    arguments: PromptArguments,
    model: ModelSource = "reference",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the embeddings.")] = Path("embeddings"),
    count: CountOption = None,
    subset_seed: SubsetSeedOption = 0,
    revision: RevisionOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    batch: Annotated[int, typer.Option(min=1, help="Prompts in one pass; 1 is exact to the last bit.")] = 1,
    shard: ShardOption = None,
) -> None:
    """Encode prompts once, with the text encoders alone; --embeddings of other commands then needs none of these.

    What a folder holds already is passed over, so that the same command goes on after an interruption.
    """
    from ecad_dsl.pipelines.embeddings import Embeddings
    from ecad_dsl.pipelines.embeddings import embed as embed_prompts

    gathered = gather_prompts(arguments, count, subset_seed)
    chosen = share(gathered.prompts, shard)
    loading = loading_of(model, revision, dtype, device)
    folder = writable_folder(output)
    different = len(dict.fromkeys([*chosen, ""]))
    with progress_bar() as bar:
        task = bar.add_task("encoding", total=different)

        def advance(done: int) -> None:
            bar.update(task, advance=done)

        encoded = embed_prompts(chosen, folder, loading, batch=batch, on_done=advance)
        bar.update(task, completed=different)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    echo(
        f"{encoded:,} encoded, {different - encoded:,} were there already;"
        f" {folder} holds {len(Embeddings(folder)):,} ({size / 2**20:,.1f} MiB)"
    )


def prompts(
    arguments: PromptArguments,
    count: CountOption = None,
    subset_seed: SubsetSeedOption = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write them as .jsonl, or .txt.")] = None,
    json: JsonOption = False,
) -> None:
    """Read a prompt set in the format that it is published in: how many, their checksum, and a subset as a file."""
    from ecad_dsl.errors import EcadError
    from ecad_dsl.files import write_text
    from ecad_dsl.quality.prompt_files import to_json_lines

    if output is not None:
        if output.suffix not in {".jsonl", ".txt"}:
            raise EcadError(f"prompts are written as .jsonl or .txt, not as {output.name!r}")
        check_writable(output)
    read = gather_prompts(arguments, count, subset_seed)
    if output is not None:
        lines = to_json_lines(read) if output.suffix == ".jsonl" else (" ".join(p.split()) for p in read.prompts)
        write_text(output, "".join(f"{line}\n" for line in lines))
        echo_err(f"written: {output}")
    if json:
        print_json(
            {
                "name": read.name,
                "format": read.format,
                "count": len(read),
                "sha256": read.sha256,
                "prompts": [{"id": i, "prompt": p} for i, p in zip(read.ids, read.prompts, strict=True)],
            }
        )
        return
    echo(f"{read.name}: {read.format}, {len(read):,} prompts, {len(set(read.prompts)):,} different")
    echo(f"sha256 {read.sha256 or '-'}")
    for name, prompt in list(zip(read.ids, read.prompts, strict=True))[:5]:
        echo(f"  {name}: {' '.join(prompt.split())[:100]}")
