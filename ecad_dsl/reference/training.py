"""Trains the reference model from nothing: ``python -m ecad_dsl.reference.training --out FOLDER``.

First the generator (half an hour on two CPU cores), then the reader (five minutes). Both are seeded; the generator is
saved every 250 steps and goes on from there when the command is repeated.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel
from diffusers.models.attention_processor import AttnProcessor
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from ecad_dsl.models import load_spec
from ecad_dsl.reference import captions, scenes
from ecad_dsl.reference.pipeline import ReferencePipeline
from ecad_dsl.reference.pixels import pixel_autoencoder
from ecad_dsl.reference.reader import Reader, parameters_of
from ecad_dsl.reference.spoil import spoil

SEED = 0
BATCH = 64
EMPTY_CAPTIONS = 0.1
"""Share of pictures trained without a caption, for classifier-free guidance."""

Dataset = tuple[Tensor, Tensor, Tensor]
"""Noisy pictures, timesteps, velocity targets."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--reader-steps", type=int, default=1600)
    parser.add_argument("--steps", type=int, default=5000, help="training steps of the generator")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not (arguments.out / "pipeline").exists():
        pipe = train_generator(arguments.steps, arguments.out / "checkpoint.pt")
        save_pipeline(pipe, arguments.out / "pipeline")
    reader = train_reader(arguments.reader_steps)
    save_file(parameters_of(reader), arguments.out / "reader.safetensors")


# ---------------------------------------------------------------------------------------------- the reader


def train_reader(steps: int) -> Reader:
    """A reader trained on scenes of every kind and on scenes spoilt artificially."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED + 1)
    reader = Reader()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    console = Console()
    for step in _progress("reader", range(steps)):
        batch = scenes.sample(192, generator, held_out=None)
        pictures = scenes.render(batch, generator)
        loss = reader_loss(reader, batch, pictures, spoil(pictures, generator))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if (step + 1) % 250 == 0:
            console.print(f"step {step + 1}: loss {loss.item():.3f}")
    return reader.eval()


def reader_loss(reader: Reader, batch: scenes.Scenes, pictures: Tensor, spoilt: Tensor) -> Tensor:
    """Cross-entropy of the attributes on clean scenes, and of how real a picture is on clean and spoilt ones.

    A spoilt picture counts as real with probability exp(-d / 0.06), d the root mean square of what was changed:
    log p(real) then falls with the damage instead of jumping.
    """
    with torch.autocast("cpu", torch.bfloat16):
        read = reader(torch.cat([pictures, spoilt]))
    count = len(batch)
    real = read["real"].float()
    damage = (spoilt - pictures).square().mean((1, 2, 3)).sqrt()
    truth = torch.cat([torch.ones(count), torch.exp(-damage / 0.06)])
    loss: Tensor = -2 * (truth * real[:, 1] + (1 - truth) * real[:, 0]).mean()
    for name, target in attributes(batch).items():
        there = batch.objects[:, int(name[-1])] if name[-1].isdigit() else torch.ones(count, dtype=torch.bool)
        picked = read[name][:count].float().gather(1, target[:, None])[:, 0]
        loss = loss - (picked * there).sum() / there.sum()
    return loss


def attributes(batch: scenes.Scenes) -> dict[str, Tensor]:
    """The true class of each head of the reader, each [batch]; of missing objects too."""
    table = {"ground": batch.ground, "layout": batch.layout}
    for which in (0, 1):
        for name in ("shape", "colour", "size"):
            table[f"{name}{which}"] = getattr(batch, name)[:, which]
    return table


# -------------------------------------------------------------------------------------------- the generator


def build_pipeline() -> ReferencePipeline:
    """The untrained reference model: tokenizer, text encoder, transformer, scheduler, pixels."""
    vocabulary = {word: index for index, word in enumerate(("<pad>", "</s>", "<unk>", *captions.WORDS))}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.normalizer = Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=captions.TOKENS,
    )
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=captions.TOKENS,
        hidden_act="gelu",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    text_encoder = CLIPTextModel(config)
    # Which word stands where must weigh from the start: with CLIP's own 0.02 colours and objects are mixed up for long.
    for name, parameter in text_encoder.named_parameters():
        if "embedding" in name:
            nn.init.normal_(parameter, std=0.5)
    transformer = PixArtTransformer2DModel(**load_spec("reference").config)
    _start_like_dit(transformer)
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    return ReferencePipeline(tokenizer, text_encoder, pixel_autoencoder(), transformer, scheduler)


def _start_like_dit(transformer: PixArtTransformer2DModel) -> None:
    """Initialisation of Peebles and Xie (arXiv 2212.09748): small modulations, zero output."""
    nn.init.normal_(transformer.adaln_single.linear.weight, std=0.02)
    nn.init.zeros_(transformer.adaln_single.linear.bias)
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.zeros_(transformer.proj_out.bias)
    for block in transformer.transformer_blocks:
        with torch.no_grad():
            block.scale_shift_table.mul_(0.3)


def optimizers(pipe: ReferencePipeline) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for everything else."""
    named = list(pipe.transformer.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and name.startswith("transformer_blocks") and "table" not in name]
    chosen = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.05),
        torch.optim.AdamW(
            [{"params": rest}, {"params": list(pipe.text_encoder.parameters())}],
            lr=1e-3,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        ),
    ]


def train_generator(steps: int, checkpoint: Path) -> ReferencePipeline:
    """The generator trained on scenes without the held-out pairs; weights are an exponential average."""
    torch.manual_seed(SEED)
    pipe = build_pipeline()
    modules = nn.ModuleList([pipe.transformer, pipe.text_encoder]).train()
    # On a CPU the backward pass of fused attention takes longer than everything else together, and compiling the
    # blocks halves the rest.
    pipe.transformer.set_attn_processor(AttnProcessor())
    for block in pipe.transformer.transformer_blocks:
        block.compile(fullgraph=True)
    average = {name: p.detach().clone() for name, p in modules.named_parameters()}
    optims = optimizers(pipe)
    warmup = 100
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda i: min((i + 1) / warmup, (steps - i) / steps)) for o in optims
    ]
    state = {"model": modules, **{f"optimizer{i}": o for i, o in enumerate(optims)}}
    state |= {f"schedule{i}": s for i, s in enumerate(schedules)}
    start = _restore(checkpoint, state, average)
    console = Console()
    running = 0.0
    for step in _progress("generator", range(start, steps), total=steps):
        # A generator of its own for each step: going on from a checkpoint sees the same data.
        loss = generator_loss(pipe, torch.Generator().manual_seed(SEED * 1_000_003 + 17 + step))
        modules.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        for optimizer, schedule in zip(optims, schedules, strict=True):
            optimizer.step()
            schedule.step()
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(modules.parameters()), 1 - decay)
        running += loss.item()
        if (step + 1) % 250 == 0:
            console.print(f"step {step + 1}: mean loss of the last 250 steps {running / 250:.4f}")
            running = 0.0
            _save(checkpoint, step + 1, state, average)
    modules.load_state_dict(average, strict=False)
    modules.eval()
    return pipe


def generator_loss(pipe: ReferencePipeline, generator: torch.Generator) -> Tensor:
    """Mean squared error of the velocity (Salimans and Ho, arXiv 2202.00512) at logit-normal times."""
    batch = scenes.sample(BATCH, generator)
    clean = scenes.render(batch, generator) * 2 - 1
    texts = captions.write(batch, generator)
    empty = torch.rand(BATCH, generator=generator) < EMPTY_CAPTIONS
    texts = ["" if drop else text for text, drop in zip(texts, empty, strict=True)]
    times = torch.sigmoid(torch.randn(BATCH, generator=generator))
    timesteps = (times * pipe.scheduler.config.num_train_timesteps).long()
    noise = torch.randn(clean.shape, generator=generator)
    noisy = pipe.scheduler.add_noise(clean, noise, timesteps)
    target = pipe.scheduler.get_velocity(clean, noise, timesteps)
    tokens = pipe.tokenizer(texts, padding="max_length", max_length=captions.TOKENS, return_tensors="pt")
    with torch.autocast("cpu", torch.bfloat16):
        text = pipe.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        predicted = pipe.transformer(
            noisy,
            encoder_hidden_states=text,
            encoder_attention_mask=tokens.attention_mask,
            timestep=timesteps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample
    return nn.functional.mse_loss(predicted.float(), target)


def _save(checkpoint: Path, step: int, state: dict[str, Any], average: dict[str, Tensor]) -> None:
    parts = {name: part.state_dict() for name, part in state.items()}
    beside = checkpoint.with_suffix(".part")
    torch.save({"step": step, "average": average, **parts}, beside)
    os.replace(beside, checkpoint)


def _restore(checkpoint: Path, state: dict[str, Any], average: dict[str, Tensor]) -> int:
    if not checkpoint.exists():
        return 0
    saved = torch.load(checkpoint, weights_only=True)
    for name, part in state.items():
        part.load_state_dict(saved[name])
    for name, tensor in average.items():
        tensor.copy_(saved["average"][name])
    return int(saved["step"])


def save_pipeline(pipe: ReferencePipeline, folder: Path) -> None:
    """Write the pipeline as diffusers' own class, the transformer in half precision: DiffusionPipeline loads it."""
    pipe.transformer.set_default_attn_processor()
    pipe.transformer.to(torch.float16)
    _lengthen_positions(pipe.text_encoder, 120)
    PixArtAlphaPipeline(**pipe.components).save_pretrained(folder)


def _lengthen_positions(text_encoder: CLIPTextModel, length: int) -> None:
    """Let the text encoder take the padding that PixArtAlphaPipeline adds by default; it is masked everywhere."""
    embedding = text_encoder.get_submodule("embeddings")
    known = embedding.position_embedding.weight.data
    longer = nn.Embedding(length, known.shape[1])
    longer.weight.data = torch.cat([known, known.new_zeros(length - len(known), known.shape[1])])
    embedding.position_embedding = longer
    embedding.register_buffer("position_ids", torch.arange(length)[None], persistent=False)
    text_encoder.config.max_position_embeddings = length


def _progress(title: str, steps: range, total: int | None = None) -> Iterator[int]:
    with Progress(disable=not Console().is_terminal) as progress:
        task = progress.add_task(title, total=total or len(steps), completed=steps.start)
        for step in steps:
            yield step
            progress.advance(task)


if __name__ == "__main__":
    main()
