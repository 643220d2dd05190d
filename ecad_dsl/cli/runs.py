"""``ecad runs list | show | export``: runs that are on the way or done, and how their candidates came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ecad_dsl.cli.console import JsonOption, ModelOption, StepsOption, echo, print_json, print_table, writable_folder
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.evolution.store import Evaluation, RunStore


def register(app: typer.Typer) -> None:
    runs = typer.Typer(help="Look at runs of ecad evolve.", no_args_is_help=True)
    runs.command("list")(list_)
    runs.command()(show)
    runs.command()(export)
    app.add_typer(runs, name="runs")


def list_(
    folder: Annotated[Path, typer.Argument(help="Where to look, in all folders below too.")] = Path(),
    json: JsonOption = False,
) -> None:
    """List the runs below a folder, the latest last."""
    found = sorted(folder.rglob("run.sqlite"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise EcadError(f"there is no run below {folder}; start one with: ecad evolve --run FOLDER")
    runs = [(path.parent, *_read(path.parent)) for path in found]
    lines: list[dict[str, Any]] = [
        {
            "run": str(run),
            "model": settings.get("problem model"),
            "objectives": settings.get("objectives", settings.get("objective")),
            "generation": max((e.generation for e in evaluations), default=0),
            "generations": settings.get("generations"),
            "evaluations": len(evaluations),
            "failed": sum(e.error is not None for e in evaluations),
            "seconds": sum(e.seconds for e in evaluations),
        }
        for run, settings, evaluations in runs
    ]
    if json:
        print_json(lines)
        return
    table = [
        (line["run"], line["model"] or "", line["objectives"] or "", f"{line['generation']}/{line['generations'] or 0}",
         str(line["evaluations"]), str(line["failed"]), _duration(line["seconds"]))
        for line in lines
    ]  # fmt: skip
    print_table("Runs", ("run", "model", "objectives", "gen.", "evaluations", "failed", "measuring"), table)


def show(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    candidate: Annotated[
        str | None, typer.Argument(help="A candidate, by its file or the start of its key: how it came about.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show a run's settings, its front and what it cost; or how a candidate came about, edit by edit.

    The search front is what nothing measured beats. Once rewards have told the best of a search for fidelity apart, it
    is the final front, like the files in front/. Programs are told as they were bred, before they were simplified.
    """
    from ecad_dsl.evolution.store import RunStore

    with RunStore(run, create=False) as store:
        evaluations = store.evaluations()
        if candidate is not None:
            _tell(evaluations, candidate, json)
        else:
            _show(store, evaluations, json)


def _show(store: RunStore, evaluations: list[Evaluation], json: bool) -> None:
    from ecad_dsl.evolution import history
    from ecad_dsl.evolution.objectives import QUALITIES
    from ecad_dsl.evolution.store import HELD_OUT

    settings, changes = store.settings(), store.changes()
    objectives = history.objectives(settings, evaluations)
    quality = next(name for name in QUALITIES if name in objectives)
    unseen = store.measurements(quality, HELD_OUT)
    candidates = history.within_limits(history.most_measured(store, quality), settings)
    if unseen and settings.get("rotate", 1) > 1:  # others were given up by what one part of the prompts said
        candidates = [candidate for candidate in candidates if candidate.key in unseen]
    front = history.front(candidates, objectives)
    cost = {
        "evaluations": len(evaluations),
        "failed": sum(e.error is not None for e in evaluations),
        "seconds": sum(e.seconds for e in evaluations),
        "pictures": sum(history.pictures(store).values()),
        "macs": history.macs(store),
    }
    if json:
        print_json(
            {
                "settings": settings,
                "changes": [vars(change) for change in changes],
                "front": [_row(e) | {"held_out": _judged(quality, unseen, e)} for e in front],
                "generations": [vars(g) | {"front": list(g.front)} for g in store.generations()],
                "cost": cost,
            }
        )
        return
    for name, value in sorted(settings.items()):
        echo(f"  {name}: {value}")
    for change in changes:
        echo(f"  changed at {change.at}: {change}")
    # Rewards have taken the place of fidelity.
    name = "Search front" if objectives == history.objectives(settings, ()) else "Final front"
    _print_front(name, front, objectives, quality, unseen)
    generations = store.generations()
    echo(
        f"\n{cost['evaluations']} evaluations ({cost['failed']} failed), {cost['pictures']:,} pictures,"
        f" {cost['macs'] / 1e12:,.1f} TMACs, {_duration(cost['seconds'])} of measuring"
        + (f"; hypervolume {generations[-1].hypervolume:.3f}" if generations else ""),
    )


def _print_front(
    name: str,
    front: Sequence[Evaluation],
    objectives: Sequence[str],
    quality: str,
    unseen: Mapping[str, Mapping[int, float]],
) -> None:
    from ecad_dsl.evolution.objectives import OBJECTIVES

    columns = ("held-out (95 % interval)",) if unseen else ()
    told = [OBJECTIVES["macs"], *(OBJECTIVES[name] for name in objectives if name not in ("macs", "rules"))]
    # A line has 80 characters; `ecad runs show RUN KEY` says what made a candidate, too.
    made_by = ("made by",) if len(told) <= 2 else ()
    longest = 14 if unseen else 30
    print_table(
        f"{name} (on the calibration prompts{f'; {quality} on held-out prompts' if unseen else ''})",
        ("key", *(o.heading for o in told), *columns, "rules", "gen.", *made_by),
        [
            (e.key[:8], *(o.text(e.objectives[o.name]) for o in told),
             *([_interval(_judged(quality, unseen, e))] if unseen else ()),
             OBJECTIVES["rules"].text(e.objectives["rules"]), str(e.generation),
             *(_start(e.edit, longest) for _ in made_by))
            for e in front
        ],
    )  # fmt: skip
    if not front:
        echo("nothing that was measured keeps to the limits of the run, or nothing has been measured yet")
        return
    echo("\nPrograms are told as they were bred; the files in front/ are simplified.")
    if "rules" in objectives:
        echo("What a simplified program beats by its fewer rules has no file there.")


def _judged(quality: str, unseen: Mapping[str, Mapping[int, float]], evaluation: Evaluation) -> dict[str, Any] | None:
    """Mean and interval on the held-out prompts."""
    from ecad_dsl.evolution.candidate import judgement

    judged = judgement(quality, list(unseen.get(evaluation.key, {}).values()))
    return None if judged is None else vars(judged)


def _start(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _interval(judged: Mapping[str, Any] | None) -> str:
    return "" if judged is None else f"{judged['mean']:.2f} ({judged['low']:.2f} to {judged['high']:.2f})"


def export(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.")],
    format: Annotated[Literal["csv", "parquet"], typer.Option(help="What to write.")] = "csv",
    model: ModelOption = None,
    steps: StepsOption = None,
) -> None:
    """Write a run as tables: candidates, evaluations, rules, generations, and the cells of the front."""
    from ecad_dsl.analysis.frames import load, save

    frames = load(run, model, steps)
    for path, table in zip(save(frames, writable_folder(output), format), frames.tables.values(), strict=True):
        echo(f"{path}: {len(table):,} rows")


def _tell(evaluations: list[Evaluation], candidate: str, json: bool) -> None:
    from ecad_dsl.evolution import history
    from ecad_dsl.evolution.objectives import OBJECTIVES

    story = history.lineage(evaluations, history.find(evaluations, candidate).key)
    if json:
        print_json(
            [_row(a.evaluation) | {"words": a.words, "added": list(a.added), "removed": list(a.removed)} for a in story]
        )
        return
    echo(history.in_one_line(story) + "\n")
    for ancestor in story:
        evaluation = ancestor.evaluation
        known = ((name, evaluation.objectives.get(name)) for name, o in OBJECTIVES.items() if o.is_measured)
        figures = ", ".join(f"{name} {value:.3f}" for name, value in known if value is not None)
        measured = "failed" if evaluation.error else figures
        crossed = f" with {ancestor.other.key[:8]}" if ancestor.other else ""
        echo(
            f"generation {evaluation.generation}, {evaluation.key[:8]}: {evaluation.edit}{crossed};"
            f" {evaluation.macs / 1e9:.3f} GMACs {measured}".rstrip(),
        )
        for sign, rules in (("-", ancestor.removed), ("+", ancestor.added)):
            for rule in rules:
                echo(f"    {sign} {rule}")


def _read(run: Path) -> tuple[dict[str, Any], list[Evaluation]]:
    from ecad_dsl.evolution.store import RunStore

    with RunStore(run, create=False) as store:
        return store.settings(), store.evaluations()


def _row(evaluation: Evaluation) -> dict[str, Any]:
    from ecad_dsl.evolution.objectives import OBJECTIVES

    values = {name: evaluation.objectives.get(name) for name in OBJECTIVES}
    return {**vars(evaluation), "parents": list(evaluation.parents), **values}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
