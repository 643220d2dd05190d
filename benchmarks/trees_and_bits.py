"""Programs against bits: hypervolume of the front against evaluations, for several seeds, starts and genomes.

``python benchmarks/trees_and_bits.py --device cuda --out FOLDER`` searches on the reference model, fidelity (PSNR on
calibration prompts to the uncached pictures) against MACs, with

* ``bits``: the genome and the settings of the ECAD paper;
* ``trees``: programs, as ``ecad evolve`` breeds them;
* ``unscreened``: the same without the screen that guesses which children are worth measuring;
* ``shallow`` and ``deep``: children of children are guessed at never, or four times in a row (``trees``: once);

each from the same hand-made schedules (``heuristic``) and from random ones (``random``). Searches run side by side and
write what they measure as they go, so that a run that is cut short keeps what it has. At a few checkpoints the front
is measured on held-out prompts.

``python benchmarks/trees_and_bits.py --plot --out FOLDER`` makes the plot and the summary of what a run has written.

Hypervolume: the area that the front dominates, between 100 % of the MACs and 0 and from 10 dB to 40 dB (the highest
that is told apart), as a share of this rectangle.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import many  # beside this file
import numpy as np
import pandas as pd

from ecad_dsl.evolution.bits import BitGenome, BitSearch, bits_of, random_bits
from ecad_dsl.evolution.genome import Genome, Space
from ecad_dsl.evolution.initial import first_population, random_population
from ecad_dsl.evolution.trees import TreeSearch
from ecad_dsl.models import load_spec
from ecad_dsl.quality.prompts import PromptSet, calibration, held_out
from ecad_dsl.schedule import format

WORST = (10.0, 1.0)
"""Reference point: dB, and the share of the MACs of recomputing everything."""
BEST = 40.0
CHECKPOINTS = (72, 144, 288, 432, 576, 720, 1080, 1440, 2160, 2880, 4320, 5760, 7200)
"""After so many evaluations the front is measured on held-out prompts, and at the end."""
VARIANTS: dict[str, dict[str, bool | int]] = {
    "trees": {},
    "unscreened": {"screened": False},
    "shallow": {"rounds": 0},
    "deep": {"rounds": 4},
}
"""Searches over programs, with what differs from that of ``ecad evolve``."""
SHARE = 0.1
"""Of the evaluations of bits, in which programs shall reach as much."""


@dataclass(frozen=True)
class Job:
    """One search."""

    genome: str
    start: str
    seed: int
    evaluations: int
    population: int
    offspring: int
    prompts: int
    held_out: int
    device: str
    deadline: float
    """Seconds since the epoch at which it stops."""

    @property
    def name(self) -> str:
        return f"{self.genome}-{self.start}-{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("trees_and_bits"))
    parser.add_argument("--plot", action="store_true", help="only draw what the folder holds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--genomes", default="bits,trees,unscreened,shallow,deep")
    parser.add_argument("--starts", default="heuristic,random")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--generations", type=int, default=100, help="of bits")
    parser.add_argument("--population", type=int, default=72)
    parser.add_argument("--offspring", type=int, default=24, help="of programs, in a generation")
    parser.add_argument("--tree-evaluations", type=int, default=1440)
    parser.add_argument("--prompts", type=int, default=12, help="calibration prompts")
    parser.add_argument("--held-out", type=int, default=24, help="held-out prompts")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=60.0, help="searches stop after so long")
    arguments = parser.parse_args()
    if not arguments.plot:
        search_all(arguments)
    draw(arguments.out)


def search_all(arguments: argparse.Namespace) -> None:
    """Run every search, so many processes side by side; those that take longest first."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    deadline = time.time() + 60 * arguments.minutes
    jobs = [
        Job(
            genome,
            start,
            seed,
            arguments.population * (arguments.generations + 1) if genome == "bits" else arguments.tree_evaluations,
            arguments.population,
            arguments.offspring,
            arguments.prompts,
            arguments.held_out,
            arguments.device,
            deadline,
        )
        for genome in arguments.genomes.split(",")
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for start in arguments.starts.split(",")
    ]
    # One thread each: they share the cores among them.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    waiting, running = list(jobs), dict[str, BaseProcess]()
    context = get_context("spawn")
    while waiting or running:
        while waiting and len(running) < arguments.processes:
            job = waiting.pop(0)
            running[job.name] = context.Process(target=search, args=(job, arguments.out))
            running[job.name].start()
        time.sleep(0.2)
        for name in [name for name, process in running.items() if not process.is_alive()]:
            process = running.pop(name)
            print(f"{name}: {'done' if process.exitcode == 0 else f'exit code {process.exitcode}'}", flush=True)


# ------------------------------------------------------------------------------------------------- one search


def search(job: Job, folder: Path) -> None:
    """One search, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    space = Space(load_spec("reference"), 20)
    algorithm = begun(job, space)
    started, seconds = time.time(), {"breeding": 0.0, "measuring": 0.0}
    with Record(job, space, folder) as record:
        while len(record.known) < job.evaluations and time.time() < job.deadline:
            clock = time.perf_counter()
            genomes = algorithm.ask()
            if not genomes:
                break
            asked = time.perf_counter()
            points = record.measure(genomes)
            told = time.perf_counter()
            algorithm.tell(np.array([(-quality, share) for share, quality in points]))
            seconds["breeding"] += asked - clock + time.perf_counter() - told
            seconds["measuring"] += told - asked
        record.finish({**seconds, "all": time.time() - started})


def begun(job: Job, space: Space) -> BitSearch | TreeSearch:
    """The search of a job, before its first generation."""
    random = np.random.default_rng(job.seed)
    if job.genome == "bits" and job.start == "random":
        return BitSearch(space, random_bits(space, job.population, random), job.seed)
    populate = first_population if job.start == "heuristic" else random_population
    first = populate(space, job.population, random)
    if job.genome == "bits":
        return BitSearch(space, bits_of([genome.schedule for genome in first]), job.seed)
    return TreeSearch(
        space,
        first,
        lambda genome: (None, space.share(genome.schedule)),
        job.seed,
        worst=(-WORST[0], WORST[1]),
        offspring=job.offspring,
        **VARIANTS[job.genome],
    )


class Record:
    """What a search has measured: ``NAME.csv``, ``NAME-held-out.csv`` and, once it is through, ``NAME.json``."""

    def __init__(self, job: Job, space: Space, folder: Path) -> None:
        self.job, self.space, self.folder = job, space, folder
        self.known: dict[str, float] = {}
        """dB on the calibration prompts, by key."""
        self._elsewhere: dict[str, float] = {}
        self._prompts, self._others = calibration(job.prompts, job.seed), held_out(job.held_out, job.seed)
        self._front: dict[str, tuple[float, float, Genome | BitGenome]] = {}
        self._checkpoints = [count for count in CHECKPOINTS if count < job.evaluations]
        self._generation = 0
        self._lines = (folder / f"{job.name}.csv").open("w")
        self._held = (folder / f"{job.name}-held-out.csv").open("w")

    def __enter__(self) -> Record:
        self._lines.write("evaluations,generation,macs,fidelity,rules\n")
        self._held.write("evaluations,macs,fidelity,held_out\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._held.close()

    def measure(self, genomes: Sequence[Genome] | Sequence[BitGenome]) -> list[tuple[float, float]]:
        """(Share of the MACs, dB) of each; those measured for the first time count as evaluations."""
        new = {genome.key: genome for genome in genomes if genome.key not in self.known}
        count = len(self.known)
        self._look(list(new.values()), self.known, self._prompts)
        for number, genome in enumerate(new.values(), start=count + 1):
            share, quality = self.space.share(genome.schedule), self.known[genome.key]
            rules = "" if isinstance(genome, BitGenome) else len(genome.rules)
            self._lines.write(f"{number},{self._generation},{share:.6f},{quality:.4f},{rules}\n")
            if not any(other >= quality and macs <= share for macs, other, _ in self._front.values()):
                self._front = {k: f for k, f in self._front.items() if f[1] > quality or f[0] < share}
                self._front[genome.key] = share, quality, genome
        self._lines.flush()
        self._generation += 1
        if self._checkpoints and len(self.known) >= self._checkpoints[0]:
            self._checkpoints = [checkpoint for checkpoint in self._checkpoints if checkpoint > len(self.known)]
            self._judge()
        return [(self.space.share(genome.schedule), self.known[genome.key]) for genome in genomes]

    def finish(self, seconds: Mapping[str, float]) -> None:
        """The last look at the front, and the front itself."""
        self._judge()
        front = [
            {
                "macs": macs,
                "fidelity": quality,
                "held_out": self._elsewhere[genome.key],
                "rows": [f"{row:x}" for row in genome.schedule.rows],
                "program": None if isinstance(genome, BitGenome) else format(genome.program),
            }
            for macs, quality, genome in sorted(self._front.values(), key=lambda point: point[0])
        ]
        report = {
            **asdict(self.job),
            "measured": len(self.known),
            "generations": self._generation,
            "seconds": seconds,
            "front": front,
        }
        (self.folder / f"{self.job.name}.json").write_text(json.dumps(report, indent=1) + "\n")

    def _judge(self) -> None:
        """The front on the held-out prompts."""
        genomes = [genome for _, _, genome in self._front.values()]
        self._look([genome for genome in genomes if genome.key not in self._elsewhere], self._elsewhere, self._others)
        for key, (macs, quality, _) in self._front.items():
            self._held.write(f"{len(self.known)},{macs:.6f},{quality:.4f},{self._elsewhere[key]:.4f}\n")
        self._held.flush()

    def _look(self, genomes: Sequence[Genome | BitGenome], known: dict[str, float], prompts: PromptSet) -> None:
        if genomes:
            values = many.fidelities([genome.schedule for genome in genomes], prompts, self.job.device).mean(1)
            known.update(zip([genome.key for genome in genomes], values.tolist(), strict=True))


# ------------------------------------------------------------------------------------- what came of the searches


def hypervolume(points: Sequence[tuple[float, float]]) -> float:
    """Of points (share of the MACs, dB), as a share of all between the reference point and the best there is."""
    area, best, last = 0.0, WORST[0], 0.0
    for macs, quality in sorted(points):
        if macs < WORST[1] and quality > best:
            area += (best - WORST[0]) * (macs - last)
            best, last = quality, macs
    area += (best - WORST[0]) * (WORST[1] - last)
    return area / ((BEST - WORST[0]) * WORST[1])


def course(measured: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Hypervolume after each evaluation."""
    front: list[tuple[float, float]] = []
    values, value = [], 0.0
    for macs, quality in zip(measured["macs"], measured["fidelity"], strict=True):
        if not any(m <= macs and q >= quality for m, q in front):
            front = [(m, q) for m, q in front if m < macs or q > quality] + [(macs, quality)]
            value = hypervolume(front)
        values.append(value)
    return np.array(values)


def read(folder: Path) -> Iterator[tuple[str, str, int, pd.DataFrame, pd.DataFrame]]:
    """Genome, start, seed, evaluations (with their hypervolume) and held-out measurements of each search."""
    for path in sorted(folder.glob("*-*-[0-9]*.csv")):
        if path.stem.endswith("-held-out"):
            continue
        genome, start, seed = path.stem.split("-")
        measured = pd.read_csv(path)
        if measured.empty:
            continue
        measured["hypervolume"] = course(measured)
        yield genome, start, int(seed), measured, pd.read_csv(path.with_name(f"{path.stem}-held-out.csv"))


def draw(folder: Path) -> None:
    """``curves.csv``, ``summary.json`` and ``trees_and_bits.png`` of what the folder holds."""
    searches = list(read(folder))
    curves = pd.concat(
        [
            pd.DataFrame(
                [
                    (genome, start, seed, "calibration", count, measured["hypervolume"].iloc[count - 1])
                    for count in spaced(len(measured))
                ]
                + [
                    (
                        genome,
                        start,
                        seed,
                        "held-out",
                        int(count),
                        hypervolume(list(zip(at["macs"], at["held_out"], strict=True))),
                    )
                    for count, at in held.groupby("evaluations")
                ],
                columns=["genome", "start", "seed", "prompts", "evaluations", "hypervolume"],
            )
            for genome, start, seed, measured, held in searches
        ]
    )
    curves.to_csv(folder / "curves.csv", index=False)
    summary = [line for prompts in ("calibration", "held-out") for line in summarised(curves, searches, prompts)]
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(pd.DataFrame(summary).to_string(index=False, float_format="{:.4f}".format))
    plot(curves, folder / "trees_and_bits.png")


def spaced(count: int) -> list[int]:
    """Numbers of evaluations up to this one, evenly spread on a logarithmic axis."""
    return sorted({count, *(int(n) for n in np.geomspace(12, 20_000, 160) if n <= count)})


def summarised(
    curves: pd.DataFrame, searches: Sequence[tuple[str, str, int, pd.DataFrame, pd.DataFrame]], prompts: str
) -> Iterator[Mapping[str, object]]:
    """For each start and each genome: its final hypervolume, and when it had reached that of bits of the same seed."""
    lengths = {(genome, start, seed): len(measured) for genome, start, seed, measured, _ in searches}
    of_prompts = curves[curves["prompts"] == prompts]
    final = of_prompts.sort_values("evaluations").groupby(["genome", "start", "seed"])["hypervolume"].last()
    for (genome, start), own in of_prompts.groupby(["genome", "start"]):
        line: dict[str, object] = {
            "prompts": prompts,
            "start": start,
            "genome": genome,
            "seeds": int(own["seed"].nunique()),
            "evaluations": int(np.median([lengths[genome, start, seed] for seed in own["seed"].unique()])),
            "final": float(final[genome, start].median()),
        }
        needed, tenth = [], []
        for seed in sorted(own["seed"].unique()):
            if ("bits", start, seed) not in lengths or genome == "bits":
                continue
            budget, goal = lengths["bits", start, seed], final["bits", start, seed]
            mine = own[own["seed"] == seed].sort_values("evaluations")
            reached = mine[mine["hypervolume"] >= goal]
            needed.append(float(reached["evaluations"].iloc[0]) / budget if len(reached) else np.inf)
            early = mine[mine["evaluations"] <= SHARE * budget]
            tenth.append(float(early["hypervolume"].iloc[-1]) / goal if len(early) else 0.0)
        if needed:
            line["share of evaluations to reach bits"] = float(np.median(needed))
            line["least"], line["most"] = float(min(needed)), float(max(needed))
            line["of bits' final at a tenth"] = float(np.median(tenth))
        yield line


def plot(curves: pd.DataFrame, path: Path) -> None:
    """Median and range over seeds, a panel for each start and prompt set."""
    from matplotlib.figure import Figure

    starts = [start for start in ("heuristic", "random") if start in set(curves["start"])]
    figure = Figure(figsize=(5.2 * len(starts), 7.6), layout="constrained")
    panels = figure.subplots(2, len(starts), sharex=True, squeeze=False)
    looks = {
        "bits": ("#b5532a", "bits, as in the paper"),
        "trees": ("#1f5fa8", "trees"),
        "unscreened": ("#7fa7cf", "trees, unscreened"),
        "shallow": ("#4f9d69", "trees, shallow"),
        "deep": ("#7b4fa3", "trees, deep"),
    }
    for row, prompts in zip(panels, ("calibration", "held-out"), strict=True):
        for panel, start in zip(row, starts, strict=True):
            for genome, (colour, label) in looks.items():
                own = curves[(curves["prompts"] == prompts) & (curves["start"] == start) & (curves["genome"] == genome)]
                if own.empty:
                    continue
                at = sorted(own["evaluations"].unique())
                wide = own.pivot_table(index="evaluations", columns="seed", values="hypervolume").reindex(at)
                wide = wide.interpolate(limit_area="inside").dropna()  # as far as all seeds have come
                panel.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=colour, alpha=0.2, lw=0)
                panel.plot(wide.index, wide.median(axis=1), color=colour, label=label)
            bits = curves[(curves["prompts"] == prompts) & (curves["start"] == start) & (curves["genome"] == "bits")]
            if not bits.empty:
                last = bits.sort_values("evaluations").groupby("seed").last()
                panel.axhline(last["hypervolume"].median(), color=looks["bits"][0], lw=0.8, ls=":")
                panel.axvline(SHARE * last["evaluations"].median(), color="0.5", lw=0.8, ls=":")
            panel.set_xscale("log")
            panel.set_title(f"{start} start, {prompts} prompts", fontsize=10)
            panel.grid(alpha=0.2)
    for panel in panels[-1]:
        panel.set_xlabel("evaluations")
    for row in panels:
        row[0].set_ylabel("hypervolume")
    panels[0][0].legend(fontsize=9, frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
