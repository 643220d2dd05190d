"""The shipped model: a real diffusers pipeline whose pictures fit their captions."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, PixArtAlphaPipeline

from ecad_dsl.quality.prompts import held_out
from ecad_dsl.quality.reward import attribute_accuracy
from ecad_dsl.reference import scenes
from ecad_dsl.reference.pipeline import WEIGHTS, ReferencePipeline, load_reader
from ecad_dsl.reference.training import attributes


def test_diffusers_own_loader_gives_a_working_pipeline() -> None:
    pipe = DiffusionPipeline.from_pretrained(WEIGHTS / "pipeline", local_files_only=True)
    assert type(pipe) is PixArtAlphaPipeline
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a red circle on grass", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (512, 512)


def test_the_pipeline_of_its_own_class_gives_pixel_art_of_256_pixels(pipe: ReferencePipeline) -> None:
    image = pipe("a red circle on grass", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    pixels = np.asarray(image)
    assert pixels.shape == (256, 256, 3)
    # Every latent is one square of 16 x 16 equal pixels.
    assert (pixels == pixels[::16, ::16].repeat(16, 0).repeat(16, 1)).all()


def test_at_least_nine_of_ten_stated_attributes_of_held_out_captions_are_drawn(pipe: ReferencePipeline) -> None:
    prompts = held_out(32, seed=7)
    noise = [torch.Generator().manual_seed(seed) for seed in prompts.seeds]
    pictures = pipe(list(prompts.prompts), generator=noise, output_type="pt").images
    assert attribute_accuracy(pictures, prompts.prompts) >= 0.9


def test_the_reader_reads_fresh_scenes() -> None:
    generator = torch.Generator().manual_seed(123)
    batch = scenes.sample(500, generator, held_out=None)
    read = load_reader()(scenes.render(batch, generator))
    for name, truth in attributes(batch).items():
        there = batch.objects[:, int(name[-1])] if name[-1].isdigit() else torch.ones(len(batch), dtype=torch.bool)
        assert (read[name].argmax(1) == truth)[there].float().mean() > 0.98, name


def test_the_weights_are_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in Path(WEIGHTS).rglob("*") if file.is_file()) < 8_000_000
