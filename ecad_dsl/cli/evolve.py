"""``ecad evolve``: a search on the reference model, to be interrupted and resumed at will."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer

from ecad_dsl.cli.console import (
    SeedOption,
    Status,
    WorkersOption,
    echo,
    echo_err,
    print_table,
    progress_bar,
    writable_folder,
)
from ecad_dsl.cli.evolve_model import (
    PipelineSettings,
    announce,
    pipeline_problem,
    resumed_problem,
    with_estimate,
)
from ecad_dsl.cli.loading import (
    DeviceOption,
    DtypeOption,
    EmbeddingsOption,
    ModelSource,
    OffloadOption,
    QuantizeOption,
    RevisionOption,
)
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    from ecad_dsl.evolution.candidate import Candidate, Judgement
    from ecad_dsl.evolution.full_size import FullSizeProblem
    from ecad_dsl.evolution.problem import PipelineProblem
    from ecad_dsl.evolution.search import Progress


GenomeKind = Literal["trees", "bits"]
Start = Literal["heuristic", "random"]


class Settings(TypedDict):
    """What a run on the reference model is started with."""

    population: int
    generations: int
    seed: int
    objective: str
    max_rules: int
    min_macs: float
    max_macs: float
    min_reward: float | None
    genome: GenomeKind
    start: Start
    prompts: int
    held_out: int
    rotate: int
    steps: int
    fewest_steps: int | None


def register(app: typer.Typer) -> None:
    app.command()(evolve)


def evolve(
    context: typer.Context,
    run: Annotated[Path | None, typer.Option(help="Folder of a new run.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a run to go on with, with its own settings.")] = None,
    population: Annotated[int, typer.Option(min=2, help="Candidates in a generation.")] = 20,
    generations: Annotated[int, typer.Option(min=0, help="Generations after the first population.")] = 12,
    prompts: Annotated[int, typer.Option(min=1, max=10_000, help="Calibration prompts.")] = 48,
    held_out: Annotated[
        int, typer.Option(min=0, max=10_000, help="Held-out prompts, on which the front is measured in the end.")
    ] = 48,
    rotate: Annotated[
        int, typer.Option(min=1, help="Cut the calibration prompts into so many parts, used in turn by generations.")
    ] = 1,
    objective: Annotated[
        str,
        typer.Option(
            help="What to breed for: two or more of reward, fidelity, latency, macs, macs_full, cache_bytes, rules."
        ),
    ] = "fidelity,macs",
    steps: Annotated[str, typer.Option(help="Denoising steps; 8-20 lets programs run with fewer than 20.")] = "20",
    seed: SeedOption = 0,
    max_rules: Annotated[int, typer.Option(min=1, help="Longest program, in rules.")] = 24,
    min_macs: Annotated[float, typer.Option(min=0, max=1, help="Find nothing cheaper: share of all MACs.")] = 0.0,
    max_macs: Annotated[float, typer.Option(min=0, max=1, help="Find nothing dearer: share of all MACs.")] = 1.0,
    min_reward: Annotated[float | None, typer.Option(help="Find nothing of a lower mean reward.")] = None,
    genome: Annotated[
        GenomeKind, typer.Option(help="Breed programs, or one bit for each cell as the ECAD paper does.")
    ] = "trees",
    start: Annotated[Start, typer.Option(help="Begin with hand-made schedules, or with random ones.")] = "heuristic",
    workers: WorkersOption = None,
    ray: Annotated[
        str | None, typer.Option(help="Measure on a Ray cluster: its address, or local for one on this machine.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Settings of a search: paper-pixart, paper-flux, quick-pixart. Options go first.")
    ] = None,
    model: ModelSource = "reference",
    metric: Annotated[str, typer.Option(help="The reward of a pipeline's pictures; `ecad metrics list`.")] = (
        "image-reward"
    ),
    weights: Annotated[str | None, typer.Option(help="Of the metric: a file, a folder or a name on the hub.")] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="Calibration prompts of a pipeline: .json, .jsonl, .txt, .csv, .tsv.")
    ] = None,
    held_out_file: Annotated[Path | None, typer.Option(help="Its held-out prompts.")] = None,
    images: Annotated[int, typer.Option("--images", "-n", min=1, help="Pictures of each calibration prompt.")] = 1,
    height: Annotated[int | None, typer.Option(min=1, help="Pixels; the model's own if not given.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Pixels; the model's own if not given.")] = None,
    embeddings: EmbeddingsOption = None,
    revision: RevisionOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    offload: OffloadOption = "none",
    quantize: QuantizeOption = "none",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures drawn at once; as many as the memory holds if not given.")
    ] = None,
) -> None:
    """Evolve schedules: NSGA-II over programs, quality against cost, for the reference model or a pipeline (--model).

    Ctrl-C stops a run, --resume goes on with it and ends with the front of an uninterrupted one. Of its settings only
    --generations may be given anew, to go on for longer.
    """
    if (run is None) == (resume is None):
        raise EcadError("say where: --run FOLDER for a new run, --resume FOLDER to go on with one")
    settings: Settings = {
        "population": population, "generations": generations, "seed": seed, "objective": objective,
        "max_rules": max_rules, "min_macs": min_macs, "max_macs": max_macs, "min_reward": min_reward,
        "genome": genome, "start": start, "prompts": prompts,
        "held_out": held_out, "rotate": rotate, **_step_counts(steps),
    }  # fmt: skip
    pipeline: PipelineSettings = {
        "model": model, "metric": metric, "weights": weights, "prompt_file": prompt_file,
        "held_out_file": held_out_file, "images": images, "height": height, "width": width, "embeddings": embeddings,
        "revision": revision, "dtype": dtype, "device": device, "offload": offload, "quantize": quantize,
        "batch": batch,
    }  # fmt: skip
    if preset is not None:
        from ecad_dsl.evolution.presets import read_preset

        for name, value in read_preset(preset).items():
            if not _is_given(context, name):
                (settings if name in settings else pipeline)[name] = value  # type: ignore[literal-required]
    _check_given(context, [*pipeline, "preset"], pipeline["model"], resume)
    if resume is not None:
        given = {name: value for name, value in settings.items() if _is_given(context, name)}
        if "steps" in given:
            given["fewest_steps"] = settings["fewest_steps"]
        settings = _stored_settings(resume) | given  # type: ignore[assignment]
    _check(settings, pipeline["model"], workers or 1)
    problem = _pipeline_problem(pipeline, settings, resume)
    folder = resume or writable_folder(run or Path())
    try:
        front = search(folder, settings, workers, ray, problem)
    except KeyboardInterrupt:
        way_on = f"ecad evolve --resume {folder}"
        echo_err(f"\ninterrupted; every finished evaluation is kept. Go on with: {way_on}")
        raise typer.Exit(130) from None
    print_front(front, settings["objective"])
    echo(f"written: {folder / 'front'}/*.ecad")


def _check(settings: Settings, model: str, workers: int) -> None:
    """Refuse what makes no sense before a folder is made or a model loaded."""
    from ecad_dsl.evolution.limits import Limits
    from ecad_dsl.evolution.objectives import check_use, chosen
    from ecad_dsl.evolution.search import check_rotation, check_steps

    objectives = chosen(settings["objective"])
    settings["objective"] = ",".join(objectives)
    check_use(objectives, settings["genome"], workers)
    Limits(settings["min_macs"], settings["max_macs"], settings["min_reward"])
    check_steps(settings["fewest_steps"], settings["steps"], settings["population"], settings["genome"])
    if model == "reference":  # how many prompts others have is for their files to say
        check_rotation(settings["rotate"], settings["prompts"])


def _check_given(context: typer.Context, names: Iterable[str], model: str, resume: Path | None) -> None:
    """Refuse what would be passed over without a word: settings of pipelines where they are not asked for."""
    welcome = {"model", "preset"} if resume is None else {"device", "batch"}
    given = [f"--{name.replace('_', '-')}" for name in names if name not in welcome and _is_given(context, name)]
    if given and resume is not None:
        raise EcadError(f"a run goes on with its own settings; leave out {', '.join(given)}")
    if given and model == "reference":
        raise EcadError(f"for pipelines only: {', '.join(given)}; name the pipeline (--model), or leave this out")


class _StepCounts(TypedDict):
    steps: int
    fewest_steps: int | None


def _step_counts(text: str) -> _StepCounts:
    """What ``20`` or ``8-20`` says."""
    fewest, _, most = text.rpartition("-")
    if not (most.isdecimal() and 2 <= int(most) <= 1000 and (not fewest or fewest.isdecimal())):
        raise EcadError(f"--steps takes a number from 2 to 1000, or a range such as 8-20, not {text}")
    return {"steps": int(most), "fewest_steps": int(fewest) if fewest else None}


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the user wrote the option, rather than leaving its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _pipeline_problem(pipeline: PipelineSettings, settings: Settings, resume: Path | None) -> FullSizeProblem | None:
    """What a run on a pipeline searches on; None for one on the reference model."""
    if resume is not None:
        return resumed_problem(resume, pipeline["device"], pipeline["batch"])
    if pipeline["model"] == "reference":
        return None
    return pipeline_problem(pipeline, settings["prompts"], settings["held_out"], settings["steps"], settings["seed"])


def search(
    folder: Path,
    settings: Settings,
    workers: int | None = None,
    ray: str | None = None,
    problem: FullSizeProblem | None = None,
) -> tuple[Candidate, ...]:
    """Run a search to its end with a progress bar; the front. Without a problem it is the reference model's."""
    from ecad_dsl.evolution.search import evolve as evolve_on
    from ecad_dsl.workers import cpu_count

    if problem is not None:
        announce(problem, settings)
        workers = workers or max(1, _gpus())
    elif "latency" in settings["objective"]:
        workers = workers or 1  # more would disturb each other's timing
    progress = evolve_on(
        problem or reference_problem(settings["prompts"], settings["steps"], settings["seed"], settings["held_out"]),
        folder,
        population=settings["population"],
        generations=settings["generations"],
        seed=settings["seed"],
        objectives=settings["objective"],
        max_rules=settings["max_rules"],
        min_macs=settings["min_macs"],
        max_macs=settings["max_macs"],
        min_reward=settings["min_reward"],
        genome=settings["genome"],
        start=settings["start"],
        rotate=settings["rotate"],
        fewest_steps=settings["fewest_steps"],
        workers=workers or cpu_count(),
        ray=ray,
    )
    last = _watch(progress if problem is None else with_estimate(progress, settings), settings)
    if last.missed:
        echo_err(
            f"nothing that was found keeps to the limits: the nearest, {last.missed}. All that was measured is kept"
            f" (`ecad runs show {folder}`); search for longer (--resume {folder} --generations N), or in another folder"
            " with wider limits"
        )
        raise typer.Exit(1)
    if not last.front:
        raise EcadError(
            f"no candidate could be measured: {last.last.error}; `ecad runs export {folder} --out FOLDER` tells what"
            " each failed of"
        )
    return last.front


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def reference_problem(prompts: int, steps: int, seed: int, unseen: int = 0) -> PipelineProblem:
    """The reference model with its calibration prompts; each seed draws others."""
    from ecad_dsl.evolution.problem import PipelineProblem
    from ecad_dsl.quality.measure import reference_sampler
    from ecad_dsl.quality.prompts import calibration, held_out
    from ecad_dsl.reference.pipeline import load_reference

    sampler = reference_sampler(load_reference(), calibration(prompts, seed))
    return PipelineProblem(sampler, steps, held_out=held_out(unseen, seed) if unseen else None)


def _watch(search: Iterable[Progress], settings: Settings) -> Progress:
    start = time.monotonic()
    with progress_bar(status := Status()) as bar:
        total = settings["population"] * (settings["generations"] + 1)
        task = bar.add_task("evolving", total=total)
        for progress in search:
            status.text = _status(progress, time.monotonic() - start)
            bar.update(
                task,
                total=total + progress.to_reward + progress.to_judge,
                completed=progress.evaluated + progress.rewarded + progress.judged,
                description=_headline(progress),
            )
    return progress


def _status(progress: Progress, seconds: float) -> str:
    """What the search has come to, as far as it is known; again short enough for a line."""
    parts = [
        f"front of {len(progress.front)}",
        f"hypervolume {progress.hypervolume:.3f}" if progress.hypervolume else "",
        f"{60 * progress.measured / seconds:.0f} evaluations a minute" if progress.measured and seconds else "",
        f"{progress.remembered} remembered" if progress.remembered else "",
        f"{progress.failed} failed" if progress.failed else "",
    ]
    return "  " + ", ".join(filter(None, parts))


def _headline(progress: Progress) -> str:
    """Short enough for a line of 80 characters: the best quality, and the best at half the MACs and at a third."""
    is_reward = any(candidate.reward is not None for candidate in progress.front)

    def best(most: float) -> str:
        found = [c.quality for c in progress.front if c.share <= most]
        return f"{max(found):{'.2f' if is_reward else '.1f'}}" if found else "-"

    if progress.to_judge:
        return f"held-out prompts for the front of {progress.to_judge}"
    if progress.to_reward:
        return f"rewards of the best {progress.to_reward}"
    unit = "reward" if is_reward else "dB"
    return f"gen {progress.generation}/{progress.generations}: {unit} {best(1)}, half {best(0.5)}, third {best(1 / 3)}"


def print_front(front: tuple[Candidate, ...], objectives: str) -> None:
    """The front as a table, cheapest first."""
    from ecad_dsl.evolution.objectives import OBJECTIVES

    # MACs and rules are told in any case.
    told = [
        objective
        for name, objective in OBJECTIVES.items()
        if name in front[0].objectives and name not in ("macs", "rules")
        if objective.is_measured or name in objectives.split(",")
    ]
    judged = front[0].held_out
    lines = [
        (OBJECTIVES["macs"].text(c.macs), f"{c.share:.1%}", *(o.text(c.objectives[o.name]) for o in told),
         *(_held_out(c.held_out) if judged else ()), str(len(c.program.rules)))
        for c in front
    ]  # fmt: skip
    columns = ("held-out", "95 % interval") if judged else ()
    where = f"; {judged.quantity} on {judged.prompts} held-out prompts" if judged else ""
    print_table(
        f"Final front (on the calibration prompts{where})",
        (OBJECTIVES["macs"].heading, "share", *(o.heading for o in told), *columns, "rules"),
        lines,
    )


def _held_out(judged: Judgement | None) -> tuple[str, str]:
    """Mean and interval; nothing where it failed."""
    return ("", "") if judged is None else (f"{judged.mean:.3f}", f"{judged.low:.3f} to {judged.high:.3f}")


def _stored_settings(folder: Path) -> Settings:
    from ecad_dsl.evolution.config import read_config, refuse_older

    config = read_config(folder)
    refuse_older(folder, config.get("search", {}))
    try:
        own = {
            name: config["search"][name]
            for name in (
                "population", "generations", "seed", "max_rules", "min_macs", "max_macs", "genome", "start", "rotate",
            )
        }  # fmt: skip
        of_problem = {"prompts": "prompts", "steps": "steps", "held_out": "held-out prompts"}
        own["objective"] = config["search"]["objectives"]
        own |= {name: config["search"].get(name) for name in ("fewest_steps", "min_reward")}
        return own | {name: config["problem"][key] for name, key in of_problem.items()}  # type: ignore[return-value]
    except KeyError as missing:
        raise EcadError(
            f"the run in {folder} is not of the reference model (no setting {missing}); resume it from Python"
        ) from missing
