"""``ecad demo``: evolve on the reference model, judge the result on held-out prompts, draw it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.compare import measure_all, print_comparison
from ecad_dsl.cli.console import SeedOption, WorkersOption, echo, echo_err, writable_folder
from ecad_dsl.cli.evolve import print_front, search

if TYPE_CHECKING:
    import pandas as pd

    from ecad_dsl.cli.evolve import Settings
    from ecad_dsl.evolution.candidate import Candidate
    from ecad_dsl.quality.measure import Entry, Measured
    from ecad_dsl.reference.pipeline import ReferencePipeline

STEPS = 20
SHOWN = ("none", "tgate-50", "fora-2", "fora-3", "fora-4", "fora-5", "fora-6", "5 steps", "7 steps", "10 steps")
"""`ecad compare` measures more baselines; the demo has no time for them."""
RIVALS = ("fora-2", "fora-3", "fora-4", "7 steps")
"""Baselines that are each answered by the best evolved schedule of no more MACs."""
PICTURES = 8
"""Of so many held-out prompts are shown."""
JUDGED = 4
"""Beside these, this many of the evolved front are judged, evenly spread over its costs."""


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    output: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the run, the pictures and the report.")
    ] = Path("demo"),
    seed: SeedOption = 0,
    population: Annotated[int, typer.Option(min=2, help="Candidates in a generation.")] = 18,
    generations: Annotated[int, typer.Option(min=0, help="Generations after the first population.")] = 13,
    prompts: Annotated[int, typer.Option(min=1, max=10_000, help="Calibration prompts.")] = 96,
    judge_prompts: Annotated[int, typer.Option(min=2, max=10_000, help="Held-out prompts.")] = 96,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of paired timing.")] = 3,
    workers: WorkersOption = None,
) -> None:
    """Evolve readable schedules on the built-in model in a few minutes, and compare them with hand-made ones.

    Bred are schedules of 20 to 45 % of the MACs: below, there are no pictures left; above, little is saved.
    """
    folder = writable_folder(output)
    settings: Settings = {
        "population": population, "generations": generations, "seed": seed, "objective": "fidelity,macs",
        "max_rules": 24, "min_macs": 0.2, "max_macs": 0.45, "min_reward": None, "genome": "trees", "start": "heuristic",
        "prompts": prompts,
        "held_out": 0, "rotate": 1, "steps": STEPS, "fewest_steps": None,
    }  # fmt: skip
    try:
        front = search(folder, settings, workers)
        print_front(front, settings["objective"])
        _judge(folder, front, judge_prompts, seed, rounds, workers)
    except KeyboardInterrupt:
        echo_err("\ninterrupted; every finished evaluation is kept. The same command goes on from here.")
        raise typer.Exit(130) from None


def _judge(folder: Path, front: Sequence[Candidate], prompts: int, seed: int, rounds: int, workers: int | None) -> None:
    """Measure the front and the baselines on held-out prompts; write and print what came of it."""
    from ecad_dsl.analysis import compare, figures, frames
    from ecad_dsl.analysis.baselines import baselines
    from ecad_dsl.reference.pipeline import load_reference
    from ecad_dsl.runtime import inspect
    from ecad_dsl.schedule import cost

    pipe = load_reference()
    hand_made = [entry for entry in baselines(inspect(pipe), STEPS) if entry.name in SHOWN]
    matches = {
        entry.name: compare.match(front, cost(entry.schedule).macs) for entry in hand_made if entry.name in RIVALS
    }
    evolved = {_name(c): c for c in [*_spread(front), *matches.values()] if c is not None}
    measured = measure_all(pipe, [*hand_made, *map(_entry, evolved.values())], prompts, seed, rounds, workers)
    by_name = {m.entry.name: m for m in measured}
    verdicts = [
        compare.verdict(by_name[rival], None if match is None else by_name[_name(match)])
        for rival, match in matches.items()
    ]
    table = compare.table(measured)
    answer = matches["fora-3"]
    _write(folder, table, verdicts, prompts)
    shown = answer or front[-1]
    title = f"{_name(shown)}\n{shown.schedule.spec.title}, {STEPS} steps"
    figures.save(figures.heat_map(frames.cells(shown.schedule), title), folder / "schedule.png")
    _draw_grid(folder, pipe, by_name, None if answer is None else _name(answer), seed)
    _write_report(folder, pipe, measured, verdicts, prompts, seed)
    for name in (
        "report.html",
        "pareto.png",
        "pictures.png",
        "schedule.png",
        "comparison.csv",
        "verdicts.json",
        "front",
    ):
        echo(f"  {folder / name}")


def _name(candidate: Candidate) -> str:
    from ecad_dsl.evolution.candidate import file_name

    return file_name(candidate).removesuffix(".ecad")


def _entry(candidate: Candidate) -> Entry:
    from ecad_dsl.quality.measure import Entry

    return Entry(_name(candidate), "evolved", candidate.schedule)


def _spread(front: Sequence[Candidate]) -> list[Candidate]:
    """Evolved candidates worth judging: below a reward of 0 there are no pictures to look at."""
    good = [c for c in front if c.quality > 0 and c.generation > 0]
    if len(good) <= JUDGED:
        return good
    return [good[round(i * (len(good) - 1) / (JUDGED - 1))] for i in range(JUDGED)]


def _write(folder: Path, table: pd.DataFrame, verdicts: Sequence[Mapping[str, Any]], prompts: int) -> None:
    """The comparison as table, plot and verdicts."""
    from ecad_dsl.analysis import figures
    from ecad_dsl.files import write_text

    write_text(folder / "comparison.csv", table.to_csv(index=False))
    write_text(folder / "verdicts.json", json.dumps(list(verdicts), indent=2) + "\n")
    plot = figures.pareto(table, f"The reference model, {prompts} held-out prompts")
    figures.save(plot, folder / "pareto.png")
    print_comparison(table, f"{prompts} held-out prompts that the search has not seen")
    for verdict in verdicts:
        echo(_in_words(verdict))


def _in_words(verdict: Mapping[str, Any]) -> str:
    if verdict["evolved"] is None:
        return f"nothing evolved costs as little as {verdict['rival']}"
    return (
        "{evolved} against {rival}: reward {gain:+.3f} (95 % interval {low:+.3f} to {high:+.3f}), "
        "{fewer_macs:.1%} fewer MACs"
    ).format(**verdict)


def _draw_grid(
    folder: Path,
    pipe: ReferencePipeline,
    measured: Mapping[str, Measured],
    answer: str | None,
    seed: int,
) -> None:
    """The same captions and noise without a cache, with FORA 3, with its evolved answer, and with fewer steps."""
    import pandas as pd

    from ecad_dsl.analysis import figures
    from ecad_dsl.quality.measure import reference_sampler
    from ecad_dsl.quality.prompts import held_out

    names = {"none": "no cache", "fora-3": "FORA 3", answer: f"evolved\n{answer}", "7 steps": "7 steps"}
    prompts = held_out(8, seed)
    sampler = reference_sampler(pipe, prompts)
    rows = [
        {"schedule": f"{label}\n({m.macs / measured['none'].macs:.0%} of MACs)", "caption": caption, "picture": picture}
        for name, label in names.items()
        if (m := measured.get(str(name))) is not None
        for caption, picture in zip(prompts.prompts, sampler.pictures(m.entry.schedule).numpy(), strict=True)
    ]
    figures.save(figures.picture_grid(pd.DataFrame(rows), rows[0]["schedule"]), folder / "pictures.png")


def _write_report(
    folder: Path,
    pipe: ReferencePipeline,
    measured: Sequence[Measured],
    verdicts: Sequence[Mapping[str, Any]],
    prompts: int,
    seed: int,
) -> None:
    from ecad_dsl.analysis import frames
    from ecad_dsl.analysis.report import write_report
    from ecad_dsl.cli.report import judged
    from ecad_dsl.evolution.store import RunStore

    with RunStore(folder, create=False) as store:
        settings = store.settings()
    names = {"population": "population", "generations": "generations", "problem prompts": "prompts"}
    options = " ".join(f"--{option} {settings[name]}" for name, option in names.items())
    command = f"ecad demo --seed {seed} {options} --judge-prompts {prompts}"
    found = frames.load(folder)
    page = judged(folder, found, settings, [command], pipe, measured, verdicts, prompts, PICTURES, seed)
    write_report(folder / "report.html", page)
