"""Other caches on the same model at the same share of the work: ``python benchmarks/peers.py``.

diffusers' own FirstBlockCache, TaylorSeer, MagCache, PyramidAttentionBroadcast and FasterCache, and cache-dit where it
is installed (``pip install '.[bench]'``), beside a schedule of ours. Each one's knob is turned until the share of
multiply-accumulates that it really runs (counted, not taken from its configuration) is as close to ours as it gets.

On the reference model, through diffusers' PixArtAlphaPipeline, the latents are compared with the uncached ones. On a
FLUX or PixArt with random weights, of middle size unless ``--blocks`` and ``--heads`` say otherwise, only time and
memory mean something. What does not work with a model is found by trying, and the table says why.
"""

from __future__ import annotations

import argparse
import ast
import copy
import io
import json
import logging
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from math import log10
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import CacheMixin, FluxTransformer2DModel, PixArtAlphaPipeline, hooks
from torch import Tensor, nn

from ecad_dsl import apply, schedules
from ecad_dsl.models import load_spec
from ecad_dsl.quality.bench import machine, random_inputs, random_transformer, scaled
from ecad_dsl.quality.bootstrap import interval
from ecad_dsl.quality.memory import peak_bytes
from ecad_dsl.quality.prompts import held_out
from ecad_dsl.quality.timing import Work, paired_seconds, warm_up
from ecad_dsl.reference.captions import TOKENS
from ecad_dsl.reference.pipeline import GUIDANCE, load_reference
from ecad_dsl.schedule import Schedule, compile, parse
from ecad_dsl.schedule.macs import MacCounter
from ecad_dsl.schedule.retarget import retarget

STEPS = 20
OURS = "cache all every 4 steps offset 1 from step 2"
"""What the demo's search finds for the reference model at 35 % of the MACs."""


class Host(ABC):
    """A model for one run of one cache: its weights are shared with the others, its modules are its own."""

    def __init__(self, transformer: nn.Module) -> None:
        shared = {id(tensor): tensor for tensor in (*transformer.parameters(), *transformer.buffers())}
        self.transformer: Any = copy.deepcopy(transformer, shared)

    @abstractmethod
    def generate(self) -> Tensor:
        """The final latents, from the same noise each time."""

    def timestep(self) -> Callable[[], float]:
        """Tells the timestep of the running forward pass, from 1000 to 0, as two of diffusers' caches ask to know."""
        now = [0.0]

        def note(_: nn.Module, __: Any, kwargs: dict[str, Any]) -> None:
            now[0] = float(kwargs["timestep"].max()) * self.timestep_scale

        self.transformer.register_forward_pre_hook(note, with_kwargs=True)
        return lambda: now[0]

    timestep_scale = 1.0
    guidance_distilled = False
    pipe: Any = None


class ReferenceHost(Host):
    """The reference model in the pipeline of its class; captions are encoded before the clock starts."""

    def __init__(self, prompts: int, context: bool = False) -> None:
        """``context``: run in a cache context, as pipelines of other models do and PixArt's does not."""
        reference = load_shipped()
        super().__init__(reference.transformer)
        # A class of its own, since some caches patch the pipeline's class.
        pipeline_class = type("PixArtAlphaPipeline", (PixArtAlphaPipeline,), {})
        self.pipe = pipeline_class(**{**reference.components, "transformer": self.transformer})
        self.pipe.set_progress_bar_config(disable=True)
        self._captions = encoded(prompts)
        self._seeds = held_out(prompts).seeds
        self._context = context

    def generate(self) -> Tensor:
        with CacheMixin.cache_context(self.transformer, "inference") if self._context else nullcontext():
            return self._draw()

    def _draw(self) -> Tensor:
        latents: Tensor = self.pipe(
            negative_prompt=None,
            **self._captions,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            height=256,
            width=256,
            use_resolution_binning=False,
            generator=[torch.Generator().manual_seed(seed) for seed in self._seeds],
            output_type="latent",
        ).images
        return latents


class LoopHost(Host):
    """A bare transformer in a plain Euler loop; as in pipelines of FLUX, forward passes run in a cache context."""

    def __init__(self, transformer: nn.Module, inputs: dict[str, Any]) -> None:
        super().__init__(transformer)
        self._inputs = inputs
        self.guidance_distilled = isinstance(transformer, FluxTransformer2DModel)
        self.timestep_scale = 1000.0 if self.guidance_distilled else 1.0

    def generate(self) -> Tensor:
        latents: Tensor = self._inputs["hidden_states"]
        first = 1000 / self.timestep_scale
        for step in range(STEPS):
            timestep = torch.full_like(self._inputs["timestep"], first * (1 - step / STEPS))
            with CacheMixin.cache_context(self.transformer, "cond"):
                output = self.transformer(**self._inputs | {"hidden_states": latents, "timestep": timestep}).sample
            # PixArt's has the noise first, then its variance.
            latents = latents - output[:, : latents.shape[1]] / STEPS
        return latents


@cache
def load_shipped() -> Any:
    return load_reference()


@cache
def encoded(prompts: int) -> dict[str, Tensor]:
    """Captions and no caption, as PixArtAlphaPipeline wants them."""
    options = {"clean_caption": False, "max_sequence_length": TOKENS, "do_classifier_free_guidance": True}
    names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
    tensors = load_shipped().encode_prompt(list(held_out(prompts).prompts), **options)
    return dict(zip(names, tensors, strict=True))


@dataclass(frozen=True)
class Cache:
    """A caching technique with one knob."""

    name: str
    levels: Sequence[Any]
    """What its knob may be set to: each computes no more than the one before."""
    enter: Callable[[Host, Any], AbstractContextManager[Any]]
    """Turns it on at a level."""


def diffusers_cache(
    enable: Callable[[nn.Module, Any], None], config: Callable[[Host, Any], Any]
) -> Callable[[Host, Any], AbstractContextManager[None]]:
    """One of ``diffusers.hooks``. Transformers without ``enable_cache`` (PixArt's) get the function that it calls."""

    def enter(host: Host, level: Any) -> AbstractContextManager[None]:
        chosen = config(host, level)
        if hasattr(host.transformer, "enable_cache"):
            host.transformer.enable_cache(chosen)
        else:
            enable(host.transformer, chosen)
        return nullcontext()

    return enter


def calibrated(new_host: Callable[[], Host]) -> list[float]:
    """MagCache's ratios, which it prints after a run."""
    host = new_host()
    config = hooks.MagCacheConfig(calibrate=True, num_inference_steps=STEPS)
    diffusers_cache(hooks.apply_mag_cache, lambda *_: config)(host, None)
    with redirect_stdout(io.StringIO()) as printed:
        host.generate()
    lists = [line for line in printed.getvalue().splitlines() if line.startswith("[") and line.endswith("]")]
    if not lists:
        raise RuntimeError("MagCache's calibration printed no ratios")
    ratios: list[float] = ast.literal_eval(lists[-1])
    return ratios


def taylor_seer(_: Host, level: tuple[int, bool]) -> Any:
    interval_, lite = level
    return hooks.TaylorSeerCacheConfig(
        cache_interval=interval_,
        disable_cache_before_step=2,
        max_order=1,
        taylor_factors_dtype=torch.float32,
        use_lite_mode=lite,
    )


def pyramid(host: Host, period: int) -> Any:
    return hooks.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=period,
        cross_attention_block_skip_range=period,
        # FLUX calls its attention `attn`, which the defaults leave out.
        spatial_attention_block_identifiers=("transformer_blocks",),
        cross_attention_block_identifiers=("transformer_blocks",),
        current_timestep_callback=host.timestep(),
    )


def faster_cache(host: Host, level: tuple[int, int]) -> Any:
    attention, unconditional = level
    return hooks.FasterCacheConfig(
        spatial_attention_block_skip_range=attention,
        unconditional_batch_skip_range=unconditional,
        spatial_attention_block_identifiers=("transformer_blocks",),
        tensor_format="BCHW",
        is_guidance_distilled=host.guidance_distilled,
        current_timestep_callback=host.timestep(),
    )


@contextmanager
def cache_dit(host: Host, threshold: float) -> Iterator[None]:
    import cache_dit as package

    config = package.DBCacheConfig(
        Fn_compute_blocks=1,
        Bn_compute_blocks=0,
        residual_diff_threshold=threshold,
        max_warmup_steps=2,
        num_inference_steps=STEPS,
    )
    target = host.pipe if host.pipe is not None else host.transformer
    package.enable_cache(target, cache_config=config)
    try:
        yield
    finally:
        package.disable_cache(target)


def peers(new_host: Callable[[], Host]) -> list[Cache]:
    """Every cache but ours, with the defaults of its authors but for its knob."""
    thresholds = [round(0.01 * 1.3**n, 4) for n in range(24)]
    ratios = cache(lambda: calibrated(new_host))
    found = [
        Cache(
            "FirstBlockCache",
            thresholds,
            diffusers_cache(
                hooks.apply_first_block_cache, lambda _, level: hooks.FirstBlockCacheConfig(threshold=level)
            ),
        ),
        Cache(
            "TaylorSeer",
            [(n, lite) for lite in (False, True) for n in range(2, 8)],
            diffusers_cache(hooks.apply_taylorseer_cache, taylor_seer),
        ),
        Cache(
            "MagCache",
            thresholds,
            diffusers_cache(
                hooks.apply_mag_cache,
                lambda _, level: hooks.MagCacheConfig(
                    threshold=level, max_skip_steps=5, num_inference_steps=STEPS, mag_ratios=ratios()
                ),
            ),
        ),
        Cache(
            "PyramidAttentionBroadcast",
            range(2, 7),
            diffusers_cache(hooks.apply_pyramid_attention_broadcast, pyramid),
        ),
        Cache(
            "FasterCache",
            [(2, 2), (2, 5), (3, 5), (4, 5), (4, 10), (6, 10)],
            diffusers_cache(hooks.apply_faster_cache, faster_cache),
        ),
    ]
    if find_spec("cache_dit") is not None:
        found.append(Cache("cache-dit", thresholds, cache_dit))
    return found


def ours(schedule: Schedule) -> Cache:
    def enter(host: Host, _: None) -> AbstractContextManager[Any]:
        return apply(host.transformer if host.pipe is None else host.pipe, schedule)

    return Cache("ours", [None], enter)


def counted(new_host: Callable[[], Host], one: Cache | None = None, level: Any = None) -> tuple[int, Tensor]:
    """Multiply-accumulates of a generation, attention's products among them, and its latents."""
    host = new_host()
    with nullcontext() if one is None else one.enter(host, level), MacCounter() as counter:
        latents = host.generate()
    return sum(counter.layers.values()) + sum(counter.attention.values()), latents


def tuned(new_host: Callable[[], Host], one: Cache, whole: int, target: float) -> tuple[Any, float, Tensor]:
    """The level whose share of the whole comes closest to the target, that share, and the latents."""
    best: tuple[Any, float, Tensor] | None = None
    low, high = 0, len(one.levels)
    while low < high:
        middle = (low + high) // 2
        macs, latents = counted(new_host, one, one.levels[middle])
        share = macs / whole
        if best is None or abs(share - target) < abs(best[1] - target):
            best = one.levels[middle], share, latents
        low, high = (middle + 1, high) if share > target else (low, middle)
    assert best is not None
    return best


@contextmanager
def subject(new_host: Callable[[], Host], one: Cache | None, level: Any) -> Iterator[Work]:
    host = new_host()
    with nullcontext() if one is None else one.enter(host, level):
        yield host.generate


def reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def compare(
    hosts: Mapping[str, Callable[[], Host]], schedule: Schedule, rounds: int, trained: bool, device: torch.device
) -> list[dict[str, Any]]:
    """A row a cache; those that do not work have an ``error`` in place of figures.

    ``hosts`` are tried in order for each cache; the row has the name of the one on which it works as ``note``.
    """
    new_host = next(iter(hosts.values()))
    whole, truth = counted(new_host)
    own = ours(schedule)
    target = counted(new_host, own)[0] / whole
    rows: list[dict[str, Any]] = [{"name": "none", "level": None, "share": 1.0, "note": ""}]
    subjects = [partial(subject, new_host, None, None)]
    for one in (own, *peers(new_host)):
        print(f"turning the knob of {one.name}", file=sys.stderr)
        row: dict[str, Any] = {"name": one.name}
        rows.append(row)
        for note, host in hosts.items():
            try:
                level, share, latents = tuned(host, one, whole, target)
            except Exception as error:
                row.setdefault("error", reason(error))
                continue
            row |= {"level": level, "share": share, "note": note}
            if trained:
                row |= fidelity(latents, truth)
            subjects.append(partial(subject, host, one, level))
            break
    measured = [row for row in rows if "share" in row]
    warm_up(subjects)
    pairs = paired_seconds(subjects[0], subjects, rounds, partial(print, file=sys.stderr))
    for row, which, seconds in zip(measured, subjects, pairs, strict=True):
        with which() as work:
            row["peak_bytes"] = peak_bytes(work, device)
        row.update(times(seconds, row["share"]))
    return rows


def times(seconds: list[tuple[float, float]], share: float) -> dict[str, float]:
    plain, cached = np.array(seconds).T
    speedup = float(np.median(plain / cached))
    low, high = interval(plain / cached, np.median)
    return {
        "ms": 1000 * float(np.median(cached)),
        "speedup": speedup,
        "speedup_low": low,
        "speedup_high": high,
        "of_macs_full": speedup * share,
    }


def fidelity(latents: Tensor, truth: Tensor) -> dict[str, float]:
    """PSNR in dB over the range of the true latents, and the relative error."""
    squares = max(float((latents - truth).square().mean()), 1e-20)  # JSON knows no infinity
    span = float(truth.max() - truth.min())
    error = float((latents - truth).norm() / truth.norm())
    return {"psnr": 10 * log10(span**2 / squares), "relative_error": error}


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}")
    print(f"{'':26}{'MACs':>7}{'ms':>9}{'speed-up':>10}{'95 %':>12}{'kept':>6}{'MiB':>6}{'PSNR':>7}{'error':>7}  level")
    for row in rows:
        if "share" not in row:
            print(f"{row['name']:26}does not run: {row['error']}")
            continue
        quality = f"{row['psnr']:7.1f}{row['relative_error']:7.3f}" if "psnr" in row else " " * 14
        print(
            f"{row['name']:26}{row['share']:7.1%}{row['ms']:9.1f}{row['speedup']:9.2f}x"
            f"{row['speedup_low']:7.2f}-{row['speedup_high']:.2f}{row['of_macs_full']:6.0%}"
            f"{row['peak_bytes'] / 2**20:6.0f}{quality}  {row['level'] if row['level'] is not None else ''}"
        )
        if row["name"] != "none" and row["share"] == 1:
            print(f"{'':26}turns on without an error, but everything is computed")
        if row["note"]:
            print(f"{'':26}{row['note']}; without: {row['error']}")


def reference(arguments: argparse.Namespace) -> tuple[dict[str, Callable[[], Host]], Schedule]:
    plain = partial(ReferenceHost, arguments.prompts)
    hosts = {"": plain, "in a cache context, which we set and the pipeline does not": partial(plain, context=True)}
    return hosts, compile(parse(OURS), load_spec("reference"), STEPS)


BARE = {"flux": ("flux.1-dev", "flux-256-fast"), "pixart": ("pixart-alpha", "pixart-alpha-256-fast")}
"""Models with random weights, and our schedule for each."""


def bare(
    name: str, blocks: int | None, heads: int | None, device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, Callable[[], Host]], Schedule]:
    """A transformer with random weights, and our schedule scaled to its size."""
    model, program = BARE[name]
    full = load_spec(model)
    spec = scaled(full, blocks, heads)
    torch.manual_seed(0)
    transformer = random_transformer(spec, device, dtype)
    schedule = compile(retarget(schedules.load(program), full, spec)[0], spec)
    inputs = random_inputs(transformer, spec, 256, 256, 1)
    return {"": partial(LoopHost, transformer, inputs)}, schedule


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=("reference", *BARE), default=["reference", "flux"])
    parser.add_argument("--prompts", type=int, default=8, help="held-out captions for the reference model")
    parser.add_argument("--blocks", type=int, default=12, help="of FLUX or PixArt")
    parser.add_argument("--heads", type=int, default=4, help="of FLUX, 128 channels each, or PixArt, 72 each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="for random weights; the reference model stays on the CPU")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="likewise")
    parser.add_argument("--out", type=Path, default=Path("peers.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    report: dict[str, Any] = {name: value for name, value in vars(arguments).items() if name != "out"}
    report |= machine(torch.device(arguments.device)) | {"diffusers": diffusers.__version__, "results": {}}
    for name in arguments.models:
        device = torch.device("cpu" if name == "reference" else arguments.device)
        if name == "reference":
            hosts, schedule = reference(arguments)
        else:
            dtype = getattr(torch, arguments.dtype)
            hosts, schedule = bare(name, arguments.blocks, arguments.heads, device, dtype)
        rows = compare(hosts, schedule, arguments.rounds, trained=name == "reference", device=device)
        report["results"][name] = rows
        show(f"{name}, {STEPS} steps", rows)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
