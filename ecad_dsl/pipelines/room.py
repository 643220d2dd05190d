"""Whether a pipeline's weights fit, and what to do where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from ecad_dsl.errors import EcadError
from ecad_dsl.pipelines.needs import Needs, in_gib, needs_of
from ecad_dsl.quality.memory import free_bytes

if TYPE_CHECKING:
    from ecad_dsl.pipelines.load import Loading

Quantize = Literal["none", "bnb-int8", "bnb-nf4", "torchao-int8"]
"""How the transformer's weights are kept: as they are, or in 8 or 4 bits by bitsandbytes or torchao."""
BITS: Mapping[str, int | None] = {"none": None, "bnb-int8": 8, "bnb-nf4": 4, "torchao-int8": 8}
Parts = Literal["all", "text", "pictures"]
"""All of a pipeline; what reads prompts; or what draws, without the former."""


def check_memory(loading: Loading, parts: Parts = "all") -> None:
    """Refuse a pipeline whose weights would not fit, before anything is downloaded or read.

    Raises:
        EcadError: the message says how much is needed, how much is free, and what would fit.
    """
    needs = None if loading.source is None else needs_of(loading.source)
    if needs is None:
        return
    room = room_of(loading, needs, parts)
    if room.fits:
        return
    sizes = _chosen(needs, parts).bytes(loading.torch_dtype, BITS[loading.quantize])
    fitting = [text for other, chosen, text in ways(loading, parts) if room_of(other, needs, chosen).fits]
    raise EcadError(
        f"the weights of {loading.model} take {in_gib(room.needed)} in {str(loading.torch_dtype)[6:]}"
        f" ({', '.join(f'{part} {in_gib(size)}' for part, size in sizes.items())}), but {room.place} has"
        f" {in_gib(room.free or 0)} free; {'; or '.join(fitting) or 'take a machine that has more'}"
    )


@dataclass(frozen=True)
class Room:
    """How much a pipeline needs on the place where it is tight, and how much is free there."""

    needed: int
    free: int | None
    place: str

    @property
    def fits(self) -> bool:
        return self.free is None or self.needed <= self.free


def room_of(loading: Loading, needs: Needs, parts: Parts) -> Room:
    """What a pipeline loaded so would need where memory is tightest."""
    sizes = _chosen(needs, parts).bytes(loading.torch_dtype, BITS[loading.quantize]).values()
    device, cpu = loading.torch_device, torch.device("cpu")
    machine = Room(sum(sizes), free_bytes(cpu), "the machine")
    if loading.offload == "none":
        return Room(sum(sizes), free_bytes(device), str(device))
    part = Room(max(sizes, default=0), free_bytes(device), str(device))
    return part if loading.offload == "model" and not part.fits else machine


def ways(loading: Loading, parts: Parts) -> Iterator[tuple[Loading, Parts, str]]:
    """What else could be tried, gentlest first."""
    half = replace(loading, dtype="bfloat16") if loading.torch_dtype == torch.float32 else loading
    if half is not loading:
        yield half, parts, "take bfloat16"
    if parts == "all":
        yield loading, "pictures", "encode the prompts before (`ecad embed`)"
        if half is not loading:
            yield half, "pictures", "encode the prompts before (`ecad embed`) and take bfloat16"
    if loading.offload == "none" and loading.torch_device.type != "cpu":
        for offload in ("model", "sequential"):
            yield replace(loading, offload=offload), parts, f"offload with {offload}"
    if loading.quantize == "none" and parts != "text":
        yield replace(half, quantize="torchao-int8"), parts, "quantize the transformer (torchao-int8)"
        yield (
            replace(half, quantize="torchao-int8"),
            "pictures",
            "encode the prompts before and quantize the transformer (torchao-int8)",
        )
    if loading.quantize == "none" and parts != "text" and loading.torch_device.type != "cpu":
        yield (
            replace(half, quantize="bnb-nf4"),
            "pictures",
            "encode the prompts before and quantize the transformer (bnb-nf4)",
        )


def _chosen(needs: Needs, parts: Parts) -> Needs:
    return {"all": needs, "text": needs.text_only(), "pictures": needs.without_text()}[parts]
