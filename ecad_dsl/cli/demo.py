"""``ecad demo``: evolve on the reference model, judge the result on held-out prompts, draw it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.compare import measure_all, print_comparison
from ecad_dsl.cli.console import err, out, writable_folder
from ecad_dsl.cli.evolve import print_front, search

if TYPE_CHECKING:
    import pandas as pd

    from ecad_dsl.evolution.search import Candidate
    from ecad_dsl.quality.measure import Entry, Measured
    from ecad_dsl.reference.pipeline import ReferencePipeline
    from ecad_dsl.schedule import Schedule

STEPS = 20
LEFT_OUT = ("deepcache-middle", "delta-dit", "pab", "tgate-25", "tgate-75")
"""Baselines that `ecad compare` measures and the demo has no time for."""
RIVALS = ("fora-2", "fora-3", "fora-4", "7 steps")
"""Baselines that are each answered by the evolved schedule of no more MACs."""
JUDGED = 6
"""Of the evolved front, this many are judged, evenly spread over its costs."""


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    output: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the run, the pictures and the report.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search and of all prompts.")] = 0,
    population: Annotated[int, typer.Option(min=2, help="Candidates in a generation.")] = 18,
    generations: Annotated[int, typer.Option(min=0, help="Generations after the first population.")] = 11,
    prompts: Annotated[int, typer.Option(min=1, help="Calibration prompts.")] = 16,
    judge_prompts: Annotated[int, typer.Option(min=2, help="Held-out prompts.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of paired timing.")] = 3,
) -> None:
    """Evolve readable schedules on the built-in model in a few minutes, and compare them with hand-made ones."""
    folder = writable_folder(output)
    settings = {
        "population": population, "generations": generations, "seed": seed, "max_rules": 24,
        "prompts": prompts, "steps": STEPS,
    }  # fmt: skip
    try:
        front = search(folder, settings)
        print_front(front)
        _judge(folder, front, judge_prompts, seed, rounds)
    except KeyboardInterrupt:
        err.print("\ninterrupted; every finished evaluation is kept. The same command goes on from here.")
        raise typer.Exit(130) from None


def _judge(folder: Path, front: Sequence[Candidate], prompts: int, seed: int, rounds: int) -> None:
    """Measure the front and the baselines on held-out prompts; write table, figures and report."""
    from ecad_dsl.analysis.baselines import baselines
    from ecad_dsl.analysis.compare import table
    from ecad_dsl.analysis.figures import heat_map, pareto_plot
    from ecad_dsl.files import write_text
    from ecad_dsl.quality.measure import Entry
    from ecad_dsl.reference.pipeline import load_reference
    from ecad_dsl.runtime import inspect

    pipe = load_reference()
    hand_made = [entry for entry in baselines(inspect(pipe), STEPS) if entry.name not in LEFT_OUT]
    rivals = {entry.name: entry for entry in hand_made if entry.name in RIVALS}
    matches = {name: _match(front, rival) for name, rival in rivals.items()}
    chosen = {id(c): c for c in [*_spread(front), *matches.values()] if c is not None}
    evolved = [Entry(_name(c), "evolved", c.schedule) for c in chosen.values()]
    measured = measure_all(pipe, [*hand_made, *evolved], prompts, seed, rounds)
    result = table(measured)
    write_text(folder / "comparison.csv", result.to_csv(index=False))
    pareto_plot(result, folder / "pareto.png", f"The reference model, {prompts} held-out prompts, 95 % intervals")
    print_comparison(result, f"{prompts} held-out prompts that the search has not seen")
    verdicts = [_verdict(measured, rival, _name(match)) for rival, match in matches.items() if match is not None]
    write_text(folder / "verdicts.json", json.dumps(verdicts, indent=2) + "\n")
    notes = [_in_words(verdict) for verdict in verdicts]
    for note in notes:
        out.print(note, markup=False, soft_wrap=True)
    best = matches["fora-3"] or front[-1]
    heat_map(best.schedule, folder / "schedule.png", f"evolved: {_name(best)}")
    _draw_grid(folder, pipe, rivals["fora-3"].schedule, best, seed)
    _write_report(folder, result, notes, front)
    for name in ("report.html", "pareto.png", "pictures.png", "schedule.png", "comparison.csv", "front/"):
        out.print(f"  {folder / name}{'/' if name.endswith('/') else ''}", markup=False, soft_wrap=True)


def _match(front: Sequence[Candidate], rival: Entry) -> Candidate | None:
    """The candidate that costs no more than the rival and is the best on the calibration prompts."""
    from ecad_dsl.schedule import cost

    limit = cost(rival.schedule).macs
    return max((c for c in front if c.macs <= limit), key=lambda c: c.reward, default=None)


def _spread(front: Sequence[Candidate]) -> list[Candidate]:
    # Below a reward of 0 there are no pictures worth judging.
    good = [c for c in front if c.reward > 0] or list(front)
    if len(good) <= JUDGED:
        return good
    return [good[round(i * (len(good) - 1) / (JUDGED - 1))] for i in range(JUDGED)]


def _name(candidate: Candidate) -> str:
    from ecad_dsl.evolution.search import file_name

    return file_name(candidate).removesuffix(".ecad")


def _verdict(measured: Sequence[Measured], rival: str, name: str) -> dict[str, Any]:
    """What an evolved schedule, chosen on the calibration prompts, gained over a rival on the held-out ones."""
    from ecad_dsl.analysis.compare import interval

    by_name = {m.entry.name: m for m in measured}
    one, other = by_name[name], by_name[rival]
    gain = one.rewards - other.rewards
    low, high = interval(gain)
    macs = 1 - one.macs / other.macs
    return {
        "evolved": name, "rival": rival, "gain": float(gain.mean()), "low": low, "high": high, "fewer_macs": macs,
        "dominates": bool(gain.mean() > 0 and one.macs <= other.macs),
    }  # fmt: skip


def _in_words(verdict: Mapping[str, Any]) -> str:
    return (
        "{evolved} against {rival}: reward {gain:+.3f} (95 % interval {low:+.3f} to {high:+.3f}), "
        "{fewer_macs:.1%} fewer MACs"
    ).format(**verdict)


def _draw_grid(folder: Path, pipe: ReferencePipeline, fora: Schedule, best: Candidate, seed: int) -> None:
    from ecad_dsl.analysis.figures import picture_grid
    from ecad_dsl.quality.measure import reference_sampler
    from ecad_dsl.quality.prompts import held_out
    from ecad_dsl.schedule import Schedule

    prompts = held_out(8, seed)
    sampler = reference_sampler(pipe, prompts)
    spec = best.schedule.spec
    everything = (1 << spec.cells) - 1
    fewer = max(1, round(best.schedule.steps * best.macs / _full(best.schedule)))
    rows = {
        "no cache": Schedule(spec, (everything,) * STEPS),
        "FORA 3": fora,
        f"evolved\n({_name(best)})": best.schedule,
        f"{fewer} steps": Schedule(spec, (everything,) * fewer),
    }
    pictures = [(label, sampler.pictures(schedule).numpy()) for label, schedule in rows.items()]
    picture_grid(pictures, prompts.prompts, folder / "pictures.png")


def _full(schedule: Schedule) -> float:
    from ecad_dsl.schedule import cost

    result = cost(schedule)
    return result.macs / (1 - result.saved)


def _write_report(folder: Path, result: pd.DataFrame, notes: Sequence[str], front: Sequence[Candidate]) -> None:
    from ecad_dsl.analysis.report import write_report
    from ecad_dsl.evolution.search import file_name

    figures = {
        "Reward against MACs": folder / "pareto.png",
        "The same captions and noise under each schedule": folder / "pictures.png",
        "An evolved schedule": folder / "schedule.png",
    }
    programs = {file_name(c): (folder / "front" / file_name(c)).read_text(encoding="utf-8") for c in front}
    title = "Schedules evolved on the reference model"
    write_report(folder / "report.html", title=title, notes=notes, table=result, figures=figures, programs=programs)
