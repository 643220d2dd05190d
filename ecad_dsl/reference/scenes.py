"""Procedural scenes: 16 x 16 pictures in the style of pixel art, the data of the reference model.

A scene is one object or two on a textured ground. Grounds are 1/f^b noise of four kinds and fills carry a light
gradient: flat colours would make a test bed on which caching does no harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

SIZE = 16
"""Height and width of a scene in pixels."""

GROUNDS = ("grass", "water", "sky", "sand")
LAYOUTS = ("single", "left of", "above")
SHAPES = ("square", "circle", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "yellow", "green", "blue", "purple", "white", "black")
SIZES = ("small", "large")

HELD_OUT = frozenset(
    {
        ("square", "yellow"),
        ("circle", "black"),
        ("triangle", "blue"),
        ("diamond", "green"),
        ("cross", "red"),
        ("ring", "purple"),
    }
)
"""Pairs of shape and colour that the generator never sees in training."""

_GROUND_RGB = torch.tensor([[0.34, 0.56, 0.24], [0.14, 0.38, 0.58], [0.56, 0.76, 0.94], [0.85, 0.74, 0.52]])
_COLOUR_RGB = torch.tensor(
    [
        [0.88, 0.13, 0.14],
        [0.98, 0.87, 0.12],
        [0.08, 0.80, 0.25],
        [0.12, 0.22, 0.90],
        [0.55, 0.15, 0.70],
        [0.96, 0.96, 0.96],
        [0.07, 0.07, 0.09],
    ]
)
# Exponent b of the 1/f^b power spectrum, stretch along y and x, and contrast of each ground.
_TEXTURE = torch.tensor([[0.3, 1.0, 1.0, 0.075], [1.0, 2.5, 1.0, 0.085], [2.2, 1.0, 1.0, 0.11], [0.8, 1.0, 2.5, 0.065]])


@dataclass(frozen=True)
class Scenes:
    """Attributes of a batch of scenes, as indices into the tuples above.

    ``ground`` and ``layout`` have the shape [batch]; ``shape``, ``colour`` and ``size`` [batch, 2]: first the
    left, upper or only object. The second entry of a single object's row has no meaning.
    """

    ground: Tensor
    layout: Tensor
    shape: Tensor
    colour: Tensor
    size: Tensor

    def __len__(self) -> int:
        return len(self.ground)

    def __getitem__(self, index: slice | Tensor) -> Scenes:
        return Scenes(*(getattr(self, f.name)[index] for f in fields(self)))

    @property
    def objects(self) -> Tensor:
        """Which of the two objects are there: BoolTensor [batch, 2]."""
        return torch.stack([torch.ones_like(self.layout, dtype=torch.bool), self.layout > 0], 1)

    @property
    def held_out(self) -> Tensor:
        """Whether a scene shows a held-out pair of shape and colour: BoolTensor [batch]."""
        pairs = torch.zeros(len(SHAPES), len(COLOURS), dtype=torch.bool)
        for shape, colour in HELD_OUT:
            pairs[SHAPES.index(shape), COLOURS.index(colour)] = True
        return (pairs[self.shape, self.colour] & self.objects).any(1)


def sample(count: int, generator: torch.Generator, held_out: bool | None = False) -> Scenes:
    """Random scenes: without held-out pairs (False), each with at least one (True), or any (None)."""

    def draw(size: int) -> Scenes:
        def choose(n: int, *shape: int) -> Tensor:
            return torch.randint(n, (size, *shape), generator=generator)

        layout = torch.tensor([0, 0, 1, 1, 2])[choose(5)]
        pairs = {"shape": choose(len(SHAPES), 2), "colour": choose(len(COLOURS), 2)}
        return Scenes(choose(len(GROUNDS)), layout, **pairs, size=choose(len(SIZES), 2))

    if held_out is None:
        return draw(count)
    # About one scene in five holds a pair, so this many leave enough of either kind.
    scenes = draw(12 * count + 64)
    kept = scenes[scenes.held_out == held_out]
    return kept[slice(count)]


def render(scenes: Scenes, generator: torch.Generator) -> Tensor:
    """Pictures of the scenes, all that they leave open chosen at random: [batch, 3, 16, 16] in [0, 1]."""
    picture = _ground(scenes.ground, generator)
    boxes = _boxes(scenes, generator)
    for index in range(2):
        cover, fill = _object(scenes, index, boxes[:, :, index], generator)
        cover = cover * scenes.objects[:, index, None, None]
        picture = torch.where(cover[:, None] > 0, fill, picture)
    return picture.clamp(0, 1)


def _ground(ground: Tensor, generator: torch.Generator) -> Tensor:
    batch = len(ground)
    b, stretch_y, stretch_x, contrast = _TEXTURE[ground].T[..., None, None]
    fy = torch.fft.fftfreq(SIZE)[None, :, None] * SIZE * stretch_x
    fx = torch.fft.rfftfreq(SIZE)[None, None, :] * SIZE * stretch_y
    frequency = (fy**2 + fx**2).sqrt().clamp(min=1)
    # Mostly shared brightness, and a little of its own for each channel: grass is not grey noise.
    white = torch.randn(batch, 4, SIZE, SIZE, generator=generator)
    shaped = torch.fft.irfft2(torch.fft.rfft2(white) * frequency[:, None] ** (-b[:, None] / 2), s=(SIZE, SIZE))
    shaped = shaped / shaped.std((2, 3), keepdim=True)
    texture = shaped[:, :1] + 0.35 * shaped[:, 1:]
    tint = 0.025 * torch.randn(batch, 3, 1, 1, generator=generator)
    picture: Tensor = _GROUND_RGB[ground][..., None, None] + tint + contrast[:, None] * texture
    return picture


def _boxes(scenes: Scenes, generator: torch.Generator) -> Tensor:
    """Diameter, left and top of both objects in pixels: [3, batch, 2].

    Two objects share the picture's halves and stand at about the same height (left of) or place (above), so that no
    scene can be read both ways. All are even numbers: objects fill whole patches of the transformer.
    """

    def uniform() -> Tensor:
        return torch.rand(len(scenes), 2, generator=generator)

    def even(room: Tensor) -> Tensor:
        """Random even offsets that leave a box inside its room, both in pixels."""
        return 2 * (uniform() * (room // 2 + 1)).long()

    diameter = torch.where(scenes.size == 1, 8, 6)
    half = SIZE // 2
    along = even(half - diameter) + torch.tensor([0, half])
    larger = diameter.amax(1, keepdim=True)
    across = even(SIZE - larger)[:, :1] + even(larger - diameter)
    layout = scenes.layout[:, None]
    left = torch.where(layout == 0, even(SIZE - diameter), torch.where(layout == 1, along, across))
    top = torch.where(layout == 0, even(SIZE - diameter), torch.where(layout == 1, across, along))
    return torch.stack([diameter, left, top])


def _object(scenes: Scenes, index: int, box: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cover [batch, 16, 16] and fill [batch, 3, 16, 16] of one of the two objects."""
    batch = len(scenes)
    diameter, left, top = box[..., None]
    pixel = torch.arange(SIZE) + 0.5
    u = ((pixel - left) / diameter * 2 - 1)[:, None, :]
    v = ((pixel - top) / diameter * 2 - 1)[:, :, None]
    cover = _silhouettes(u, v).gather(1, scenes.shape[:, index, None, None, None].expand(-1, 1, SIZE, SIZE))[:, 0]
    angle = 2 * math.pi * torch.rand(batch, 1, 1, generator=generator)
    light = 1 + 0.16 * (u * angle.cos() + v * angle.sin())
    colour = _COLOUR_RGB[scenes.colour[:, index]] + 0.04 * torch.randn(batch, 3, generator=generator)
    return cover, colour[..., None, None] * light[:, None]


def _silhouettes(u: Tensor, v: Tensor) -> Tensor:
    """Every shape of SHAPES inside the box |u|, |v| < 1: [batch, shapes, 16, 16]."""
    radius = u**2 + v**2
    box = (u.abs() < 1) & (v.abs() < 1)
    circle = radius <= 1.08
    triangle = u.abs() <= (v + 1) / 2 + 0.02
    diamond = u.abs() + v.abs() <= 1.06
    cross = (u.abs() < 0.3) | (v.abs() < 0.3)
    ring = circle & (radius > 0.34)
    return torch.stack([s & box for s in (box, circle, triangle, diamond, cross, ring)], 1).float()
