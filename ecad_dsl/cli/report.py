"""``ecad report``: a run as one HTML file, with plots, pictures and programs in it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.compare import measure_all
from ecad_dsl.cli.console import ModelOption, StepsOption, WorkersOption, check_writable, echo, echo_err

if TYPE_CHECKING:
    import pandas as pd

    from ecad_dsl.analysis.frames import Frames
    from ecad_dsl.analysis.report import Report
    from ecad_dsl.quality.measure import Entry, Measured
    from ecad_dsl.reference.pipeline import ReferencePipeline
    from ecad_dsl.schedule import Schedule

SHOWN = 10
"""Of the final front, so many schedules are measured, evenly spread over its costs; rivals' answers come on top."""
RIVALS = ("fora-2", "fora-3", "fora-4", "7 steps", "5 steps")
"""Baselines that are each answered by the best bred schedule of no more MACs."""


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="The HTML file; report.html in the run's folder if not given.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=2, max=10_000, help="Held-out prompts.")] = 64,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of paired timing; 0: no timing.")] = 3,
    pictures: Annotated[int, typer.Option(min=0, max=64, help="Pictures to show of each schedule.")] = 8,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the held-out prompts; the run's own if not given.")
    ] = None,
    workers: WorkersOption = None,
    model: ModelOption = None,
    steps: StepsOption = None,
) -> None:
    """Write a run as one HTML file that opens from disk: its final front, the baselines, pictures and programs.

    A run on the built-in model is measured on held-out prompts for it. Of other runs, the page shows what they stored.
    """
    from ecad_dsl.analysis import compare, frames
    from ecad_dsl.evolution.store import RunStore

    output = output or run / "report.html"
    with RunStore(run, create=False) as store:
        settings = store.settings()
    check_writable(output)
    found = frames.load(run, model, steps)
    commands = [
        _evolve_command(run, settings),
        _report_command(run, prompts, rounds, pictures, {"seed": seed, "model": model, "steps": steps}),
    ]
    if settings.get("problem model") != "reference":
        echo_err("the pictures of this run's model cannot be drawn here; the report shows what the run has stored")
        page = stored(run, found, settings, commands[1:])
    else:
        from ecad_dsl.analysis.baselines import baselines
        from ecad_dsl.reference.pipeline import load_reference
        from ecad_dsl.runtime import inspect

        pipe = load_reference()
        seed = settings["seed"] if seed is None else seed
        hand_made = baselines(inspect(pipe), found.steps)
        front = _front(run, found)
        answers = _answers(front, {entry.name: entry.schedule for entry in hand_made if entry.name in RIVALS})
        chosen = front[front["name"].isin({*_spread(front)["name"], *filter(None, answers.values())})]
        measured = measure_all(pipe, [*hand_made, *_entries(chosen, found)], prompts, seed, rounds, workers)
        by_name = {m.entry.name: m for m in measured}
        verdicts = [compare.verdict(by_name[r], by_name[a] if a else None) for r, a in answers.items()]
        page = judged(run, found, settings, commands, pipe, measured, verdicts, prompts, pictures, seed)
    from ecad_dsl.analysis.report import write_report

    write_report(output, page)
    echo(f"written: {output}")


def judged(
    run: Path,
    found: Frames,
    settings: Mapping[str, Any],
    commands: Sequence[str],
    pipe: ReferencePipeline,
    measured: Sequence[Measured],
    verdicts: Sequence[Mapping[str, Any]],
    prompts: int,
    pictures: int,
    seed: int,
) -> Report:
    """The page of a run on the built-in model, of schedules that were measured on so many held-out prompts."""
    from ecad_dsl.analysis.comparison import compared
    from ecad_dsl.analysis.report import Report
    from ecad_dsl.quality.measure import reference_sampler
    from ecad_dsl.quality.prompts import held_out

    tables = compared(measured)
    names = {m.entry.name: m.entry.schedule for m in measured}
    keys = dict(zip(found.candidates["name"], found.candidates["key"], strict=True))
    shown = held_out(pictures, seed)
    sampler = reference_sampler(pipe, shown)
    return Report(
        title="Schedules evolved on the reference model",
        frames=found,
        table=tables["table"],
        schedules=names,
        programs=_programs(run, found, names),
        keys={m.entry.name: keys[m.entry.name] for m in measured if m.entry.group == "evolved"},
        measured_on=f"{prompts} held-out prompts",
        verdicts=verdicts,
        claims=tables["claims"],
        hypervolumes=tables["hypervolumes"],
        pictures={name: sampler.pictures(schedule).numpy() for name, schedule in names.items()} if pictures else {},
        captions=shown.prompts,
        settings=settings,
        commands=commands,
    )


def stored(run: Path, found: Frames, settings: Mapping[str, Any], commands: Sequence[str]) -> Report:
    """The page of what a run has stored: its front on held-out prompts, where it was judged on some.

    Where it was not, its front and its first generation on the calibration prompts.
    """
    import pandas as pd

    from ecad_dsl.analysis.report import Report

    front = _front(run, found)
    quality = _quality(found.candidates)
    first = found.candidates[(found.candidates["generation"] == 0) & found.candidates[quality].notna()]
    first = first.assign(group="first generation", name=first["edit"] + " " + first["key"].str[:4])
    table, prompts = _held_out(front.assign(group="evolved"), found, quality)
    if prompts:
        measured_on = f"{prompts} held-out prompts"
    else:
        table = pd.concat([first, front[front[quality].notna()].assign(group="evolved")])
        table = table.assign(reward=table[quality], reward_low=float("nan"), reward_high=float("nan"))
        measured_on = "the calibration prompts, by which they were chosen: they flatter"
    unknown = ("change", "change_low", "change_high", "ms_per_image", "speedup", "speedup_low", "speedup_high")
    table = table.assign(macs_speedup=1 / table["macs_share"], **dict.fromkeys(unknown, float("nan")))
    programs = dict(zip(table["name"], table["program"], strict=True))
    schedules = {name: found.schedule(text) for name, text in programs.items()}
    bred = table[table["group"] == "evolved"]
    columns = ("name", "group", "steps", "macs", "macs_share", "reward", "reward_low", "reward_high", "macs_speedup")
    return Report(
        title=f"Schedules evolved on {found.spec.title}",
        frames=found,
        table=table[[*columns, *unknown]].reset_index(drop=True),
        schedules=schedules,
        programs=_programs(run, found, schedules, programs),
        keys=dict(zip(bred["name"], bred["key"], strict=True)),
        measured_on=measured_on,
        settings=settings,
        commands=commands,
        quality={"reward": "mean reward"}.get(quality, quality),
    )


def _held_out(front: pd.DataFrame, found: Frames, quality: str) -> tuple[pd.DataFrame, int]:
    """Those of the front that were judged on held-out prompts, with means and intervals; and on how many prompts."""
    from ecad_dsl.evolution.store import HELD_OUT
    from ecad_dsl.quality.bootstrap import interval

    kept = found.evaluations
    kept = kept[(kept["quantity"] == quality) & (kept["prompt_set"] == HELD_OUT)]
    rewards = {str(key): values.to_numpy(float) for key, values in kept.groupby("key")["value"]}
    table = front[front["key"].isin(rewards)]
    known = [rewards[key] for key in table["key"]]
    intervals = [interval(values) for values in known]
    table = table.assign(
        reward=[values.mean() for values in known],
        reward_low=[low for low, _ in intervals],
        reward_high=[high for _, high in intervals],
    )
    return table, min(map(len, known), default=0)


def _quality(candidates: pd.DataFrame) -> str:
    """What candidates are told apart by: their reward where it was measured."""
    known = [name for name in ("reward", "fidelity") if name in candidates and candidates[name].notna().any()]
    return known[0] if known else "macs_share"


def _front(run: Path, found: Frames) -> pd.DataFrame:
    """The final front: the bred candidates that the run has written down in ``front/``."""
    written = {file.stem for file in (run / "front").glob("*.ecad")}
    bred = found.candidates[found.candidates["generation"] > 0].sort_values("macs")
    listed = bred[bred["name"].isin(written)]
    return listed if len(listed) else bred[bred["on_front"]]


def _spread(front: pd.DataFrame) -> pd.DataFrame:
    if len(front) <= SHOWN:
        return front
    return front.iloc[sorted({round(i * (len(front) - 1) / (SHOWN - 1)) for i in range(SHOWN)})]


def _answers(front: pd.DataFrame, rivals: Mapping[str, Schedule]) -> dict[str, str | None]:
    """For each rival the best of the front, on calibration prompts, that costs no more."""
    from ecad_dsl.schedule import cost

    quality = _quality(front)
    answers: dict[str, str | None] = {}
    for name, schedule in rivals.items():
        cheap = front[(front["macs"] <= cost(schedule).macs) & front[quality].notna()]
        answers[name] = None if cheap.empty else str(cheap.sort_values(quality)["name"].iloc[-1])
    return answers


def _entries(front: pd.DataFrame, found: Frames) -> list[Entry]:
    from ecad_dsl.quality.measure import Entry

    return [
        Entry(name, "evolved", found.schedule(text)) for name, text in zip(front["name"], front["program"], strict=True)
    ]


def _programs(
    run: Path, found: Frames, schedules: Mapping[str, Schedule], own: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The texts of schedules: as the run or the library has them on file, or with model and steps put on top."""
    from ecad_dsl import schedules as library
    from ecad_dsl.schedule import parse

    bred = own or dict(zip(found.candidates["name"], found.candidates["program"], strict=True))
    texts = {}
    for name, schedule in schedules.items():
        file = run / "front" / f"{name}.ecad"
        if name in bred and Path(name).name == name and file.is_file():
            texts[name] = file.read_text(encoding="utf-8")
        elif name in bred:
            steps = "" if parse(bred[name]).steps else f"steps {schedule.steps}\n"
            texts[name] = f"model {found.spec.name}\n{steps}{bred[name]}"
        elif name in library.names():
            texts[name] = library.text(name)
        elif schedule.recomputed == schedule.steps * schedule.spec.cells:
            texts[name] = f"steps {schedule.steps}\n"
    return texts


def _evolve_command(run: Path, settings: Mapping[str, Any]) -> str:
    own = (
        "population",
        "generations",
        "seed",
        "max_rules",
        "min_macs",
        "max_macs",
        "min_reward",
        "genome",
        "start",
        "rotate",
    )
    problem = {"prompts": "prompts", "steps": "steps", "held_out": "held-out prompts"}
    options = {name: settings[name] for name in own if settings.get(name) is not None}
    if objective := settings.get("objectives", settings.get("objective")):
        options["objective"] = objective
    options |= {name: settings[f"problem {said}"] for name, said in problem.items() if f"problem {said}" in settings}
    return _command("evolve", {"run": run, **options})


def _report_command(run: Path, prompts: int, rounds: int, pictures: int, asked: Mapping[str, Any]) -> str:
    given = {name: value for name, value in asked.items() if value is not None}
    options = {"prompts": prompts, "rounds": rounds, "pictures": pictures, **given}
    return f"{_command('report', options)} {shlex.quote(str(run))}"


def _command(verb: str, options: Mapping[str, Any]) -> str:
    return shlex.join(
        ["ecad", verb, *(part for n, v in options.items() for part in (f"--{n.replace('_', '-')}", str(v)))]
    )
