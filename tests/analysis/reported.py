"""A report of a made-up run: real schedules, programs and pictures of scenes, with rewards that were never measured."""

from pathlib import Path

import numpy as np
import torch
from ecad_dsl.analysis import baselines, compare, frames
from ecad_dsl.analysis.comparison import compared
from ecad_dsl.analysis.report import Report

from ecad_dsl import schedules
from ecad_dsl.evolution.search import evolve
from ecad_dsl.evolution.store import RunStore
from ecad_dsl.language import Meta, format_statement
from ecad_dsl.models import load_spec
from ecad_dsl.quality.measure import Entry, Measured
from ecad_dsl.reference import captions, scenes
from ecad_dsl.schedule import compile, cost, parse
from tests.evolution.synthetic import Synthetic

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
SPEC = load_spec("reference")
BASELINES = ("none", "fora-2", "fora-3", "fora-4", "tgate-50", "10 steps", "7 steps")


def run(folder: Path) -> Path:
    """The folder of a small search."""
    for _ in evolve(Synthetic(), folder, population=10, generations=4, seed=0):
        pass
    return folder


def reported(folder: Path, hostile: bool = False) -> Report:
    """What is to be told of the run in a folder. With ``hostile``, names, captions and texts try to be HTML."""
    found = frames.load(folder, "reference", 20)
    with RunStore(folder, create=False) as store:
        settings = store.settings()
    front = found.front[found.front["generation"] > 0]
    random = np.random.default_rng(0)
    doubt = random.normal(0, 0.1, 40)
    synthetic = Synthetic()
    entries = [entry for entry in baselines.baselines(SPEC, 20) if entry.name in BASELINES]
    texts = {
        e.name: schedules.text(e.name) if e.name in schedules.names() else f"steps {e.schedule.steps}\n"
        for e in entries
    }
    keys = {}
    for name, key, text in zip(front["name"], front["key"], front["program"], strict=True):
        shown = f"{name}{HOSTILE}" if hostile else name
        entries.append(Entry(shown, "evolved", compile(parse(text), SPEC, 20)))
        title = Meta("title", HOSTILE if hostile else name)
        texts[shown] = f"model reference\nsteps 20\n{format_statement(title)}\n{text}"
        keys[shown] = key
    measured = [
        Measured(
            entry,
            cost(entry.schedule).macs,
            0.8 * synthetic.reward(entry.schedule) + doubt + random.normal(0, 0.02, 40) if entry.schedule.steps == 20
            else 0.5 + doubt,
            tuple((0.02, 0.02 * cost(entry.schedule).macs / 5e9 + noise) for noise in (0.002, 0.0021, 0.0019)),
            batch=4,
        )
        for entry in entries
    ]  # fmt: skip
    by_name = {m.entry.name: m for m in measured}
    bred = [by_name[name] for name in keys]

    def answer(rival: str) -> Measured | None:
        cheap = [m for m in bred if m.macs <= by_name[rival].macs]
        return max(cheap, key=lambda m: float(m.rewards.mean()), default=None)

    rivals = [name for name in ("fora-2", "fora-3", "7 steps") if name in by_name]
    tables = compared(measured)
    generator = torch.Generator().manual_seed(0)
    drawn = scenes.sample(6, generator)
    texts_of = captions.write(drawn, generator)
    plain = scenes.render(drawn, generator).numpy()
    return Report(
        title=f"A made-up run {HOSTILE}" if hostile else "A made-up run",
        frames=found,
        table=tables["table"],
        claims=tables["claims"],
        hypervolumes=tables["hypervolumes"],
        schedules={m.entry.name: m.entry.schedule for m in measured},
        programs=texts,
        keys=keys,
        measured_on="40 made-up prompts",
        verdicts=[compare.verdict(by_name[name], answer(name)) for name in rivals],
        pictures={
            m.entry.name: np.clip(plain + random.normal(0, 0.25 * (1 - m.macs / 5e9), plain.shape), 0, 1)
            for m in measured
        },
        captions=[f"{HOSTILE}{text}" for text in texts_of] if hostile else texts_of,
        settings=settings | ({HOSTILE: HOSTILE} if hostile else {}),
        commands=[f"ecad report {HOSTILE if hostile else 'run'}"],
    )
