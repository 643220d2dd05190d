"""Norms that prepare components alone are found, and any other use of a norm is seen."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from ecad_dsl.runtime.dataflow import norms_of_components


class Block(nn.Module):
    """Two norms and two components; what the forward pass does with them differs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(4), nn.LayerNorm(4)
        self.attn, self.ff = nn.Linear(4, 4), nn.Linear(4, 4)
        self.drop, self.act = nn.Dropout(0.1), nn.SiLU()
        self.kind, self.chunk = "layer", None


class AdaNorm(nn.Module):
    """A norm within: diffusers' AdaLayerNormZero."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(4), nn.Linear(4, 12)

    def forward(self, x: Any, emb: Any = None) -> Any:
        shift, scale, gate = self.linear(emb).chunk(3, dim=1)
        x = self.norm(x) * (1 + scale[:, None]) + shift[:, None]
        return x, gate


class ByName(Block):
    def forward(self, x: Any, scale: Any, shift: Any) -> Any:
        prepared = self.norm1(x) * (1 + scale) + shift
        x = x + self.attn(prepared.to(x.dtype))
        prepared = self.drop(self.norm2(x.float()))
        prepared -= shift
        return x + self.ff(hidden_states=prepared)


class ByBranch(Block):
    def forward(self, x: Any, scale: Any = None, **extra: Any) -> Any:
        if self.kind == "layer" and not self.chunk:
            prepared = self.norm1(x)
        elif self.kind in ("batch", "group"):
            prepared = torch.softmax(self.norm1(x), dim=1)
        else:
            raise ValueError(self.norm1(x).shape)
        if scale is not None:
            prepared = prepared * scale
        return x + self.attn(prepared, **extra) + (self.ff(self.norm2(x)) if scale is None else x)


class ByMethod(Block):
    def _modulate(self, x: Any, scale: Any) -> Any:
        return x * scale, scale

    def forward(self, x: Any, scale: Any) -> Any:
        prepared, gate = self._modulate(self.norm1(x), scale)
        x = x + gate * self.attn(prepared)
        return x + self.ff(torch.cat([self.norm2(x), self.norm2(scale)], dim=1))


class ByModule(Block):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = AdaNorm()  # type: ignore[assignment]

    def forward(self, x: Any, emb: Any) -> Any:
        prepared, gate = self.norm1(x, emb=emb)
        return x + gate * self.attn(prepared) * self.ff(prepared)


class InBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = ByName()

    def forward(self, x: Any, scale: Any) -> Any:
        return self.block(x, scale, scale)


NORMS = {
    ByName: {"norm1": {"attn"}, "norm2": {"ff"}},
    ByBranch: {"norm1": {"attn"}, "norm2": {"ff"}},
    ByMethod: {"norm1": {"attn"}, "norm2": {"ff"}},
    ByModule: {"norm1.norm": {"attn", "ff"}},
}


@pytest.mark.parametrize("block", NORMS)
def test_norms_are_followed_to_the_components(block: type[nn.Module]) -> None:
    assert norms_of_components(block(), ["attn", "ff"]) == NORMS[block]


def test_components_may_lie_in_a_block_within() -> None:
    found = norms_of_components(InBlock(), ["block.attn", "block.ff"])
    assert found == {"block.norm1": {"block.attn"}, "block.norm2": {"block.ff"}}


USES = """
return x + self.attn(prepared) + prepared
return x + self.attn(prepared) * torch.sigmoid(prepared)
return self.attn(prepared), prepared
return self.attn(prepared[:, 1:])
return self.attn(prepared.reshape(-1, 4)) + self.attn(prepared)
return self.attn(prepared, scale=prepared.mean())
return self.attn(prepared) if prepared.sum() > 0 else x
return self.attn(prepared @ x)
return self.attn(self.act(prepared)) + self.attn(prepared)
return self.attn(prepared) + self.drop(prepared)
return [self.attn(prepared) for part in prepared]
return self.attn(*[prepared])
return self.attn(torch.cat([prepared, x], dim=1))
return self.attn(helper(prepared))
return self.attn(-prepared)
return self.attn(self.norm2(prepared))
return self.attn(prepared) + helper(self.norm1, x)
return self.attn((lambda: prepared)())
y = z = prepared; return self.attn(prepared)
a, b = prepared; return self.attn(prepared)
self.kept = prepared; return self.attn(prepared)
x += prepared; return self.attn(prepared) + x
y = x; x += prepared; return self.attn(x) + y
x[0] = prepared; return self.attn(prepared)
prepared[0] = x; return self.attn(prepared)
helper(prepared); return self.attn(prepared)
assert prepared.ndim == 3; return self.attn(prepared)
del prepared; return self.attn(self.norm1(x))
""".strip().splitlines()
BLOCKS = [
    "for _ in range(2):\n    prepared = helper(prepared)\nreturn self.attn(prepared)",
    "while helper(x):\n    x = x + prepared\nreturn self.attn(prepared) + x",
    "with torch.no_grad():\n    y = prepared * 2\nreturn self.attn(prepared)",
    "if self.gate:\n    x = prepared\nreturn self.attn(prepared) + x",
    "if self.training:\n    x = prepared\nreturn self.attn(prepared) + x",
    "def late():\n    return prepared\nreturn self.attn(prepared) + late()",
    "try:\n    y = self.attn(prepared)\nexcept ValueError:\n    y = prepared\nreturn y",
]
numbers = itertools.count()


def block_of(lines: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A block from source text, in a module of its own: there must be a file to read it from."""
    name = f"block_{next(numbers)}"
    body = "".join(f"        {line}\n" for line in lines.replace("; ", "\n").splitlines())
    text = f"""
import torch
from tests.runtime.test_dataflow import Block
helper = print
class Read(Block):
    gate = torch.ones(1)
    def forward(self, x):
        prepared = self.norm1(x)
{body}"""
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    block: nn.Module = __import__(name).Read()
    return block


@pytest.mark.parametrize("lines", USES + BLOCKS)
def test_any_other_use_of_a_norm_is_seen(lines: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "norm1" not in norms_of_components(block_of(lines, tmp_path, monkeypatch), ["attn", "ff"])


def test_the_same_lines_without_the_use_are_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert norms_of_components(block_of("return self.attn(prepared)", tmp_path, monkeypatch), ["attn"]) == {
        "norm1": {"attn"}
    }


def test_a_forward_pass_without_source_or_in_another_s_place_has_none() -> None:
    made = type("Made", (Block,), {"forward": eval("lambda self, x: self.attn(self.norm1(x))")})()
    assert norms_of_components(made, ["attn"]) == {}
    patched = ByName()
    patched.forward = lambda x: x  # type: ignore[method-assign,assignment]
    assert norms_of_components(patched, ["attn", "ff"]) == {}
