"""Specs as files: what is written is read, a variant says only what differs, and mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.models import Component, ModelSpec, Stack, load_spec, spec_names, to_toml
from ecad_dsl.models.toml import MAX_BYTES, read_spec

GOOD = """\
title = "Mine"
transformer = "DiTTransformer2DModel"

[[stacks]]
name = "blocks"
path = "transformer_blocks"
blocks = 4
components = [
    { name = "attn", module = "attn1", aliases = ["attn1"], feeds = "ffn" },
    { name = "ffn", module = "ff" },
]
"""


def read(text: str) -> ModelSpec:
    return read_spec(text.encode(), "mine", "mine.toml")


@pytest.mark.parametrize("name", spec_names())
def test_a_shipped_spec_is_read_as_it_was_written(name: str) -> None:
    spec = load_spec(name)
    again = read_spec(to_toml(spec).encode(), name, "again.toml")
    assert (again, again.groups, again.config, again.inputs) == (spec, spec.groups, spec.config, spec.inputs)


values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    title=st.text(st.characters(exclude_categories=["Cs"])),
    config=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values | st.none(), max_size=4),
)
def test_any_configuration_is_read_as_it_was_written(title: str, config: dict[str, Any]) -> None:
    attn = Component("attn", "block.attn1", ("attn1",), "ffn", ("norm1.norm",))
    stacks = (Stack("main", "blocks", 2, (attn, Component("ffn", "ff"))),)
    again = read(to_toml(ModelSpec("mine", title, "Mine", stacks, config=config)))
    assert (again.title, again.stacks, again.config) == (title, stacks, config)


def test_what_toml_has_no_word_for_is_refused() -> None:
    spec = ModelSpec("mine", "Mine", "Mine", (), config={"dtype": object()})
    with pytest.raises(EcadError, match="cannot hold"):
        to_toml(spec)


def test_a_variant_has_what_its_base_has_but_for_what_it_says() -> None:
    base = load_spec("flux.1-dev")
    spec = read('base = "flux.1-dev"\n[blocks]\nsingle = 5\n[config]\nnum_single_layers = 5\n[inputs]\nheight = 512\n')
    assert [stack.blocks for stack in spec.stacks] == [19, 5]
    assert spec.config == {**base.config, "num_single_layers": 5}
    assert spec.inputs == {**base.inputs, "height": 512}
    assert (spec.title, spec.groups) == (base.title, base.groups)


def test_resolutions_of_a_family_differ_in_nothing_else() -> None:
    for name in ("pixart-alpha-512", "pixart-alpha-1024", "pixart-sigma-512", "pixart-sigma-1024"):
        assert load_spec(name).stacks == load_spec("pixart-alpha").stacks
        assert load_spec(name).inputs["height"] == int(name.rpartition("-")[2])


def test_a_file_may_begin_with_a_mark_and_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert (load_spec(path).name, load_spec(path).blocks) == ("mine", 4)
    path.write_text(GOOD.replace("blocks = 4", "blocks = 5"))
    assert load_spec(str(path)).blocks == 5


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('title = "Mine"', "title = ", "no TOML"),
        ('title = "Mine"', "title = 3", "'title' must be a text"),
        ('title = "Mine"', 'tilte = "Mine"', "no key 'tilte'; its keys are base, blocks, checkpoint"),
        ('title = "Mine"', 'base = "flux"', "base 'flux' is no shipped model"),
        ("transformer =", "#", "the key 'transformer' is missing"),
        ("[[stacks]]", "[stacks]", "'stacks' must be a list"),
        ("blocks = 4", "blocks = true", "'blocks' must be a whole number"),
        ("blocks = 4", "blocks = 0", "must have 1 to 10,000 blocks, not 0"),
        ("blocks = 4", "blocks = 10001", "must have 1 to 10,000 blocks"),
        ('path = "transformer_blocks"', 'path = "a.b"', "must be an attribute of the transformer"),
        ('module = "ff"', 'module = "ff."', "must be an attribute of the block"),
        ('aliases = ["attn1"]', 'aliases = "attn1"', "'aliases' must be a list"),
        ('aliases = ["attn1"]', "aliases = [1]", "each of its items a text"),
        ('aliases = ["attn1"]', 'aliases = ["self"]', "'self' of attn is the name of a component, a group or a role"),
        ('aliases = ["attn1"]', 'aliases = ["ffn"]', "'ffn' stands twice for a component"),
        ('name = "ffn"', 'name = "attn"', "'attn' stands twice for a component"),
        ('name = "ffn"', 'name = "Ffn"', "'Ffn' is not a name"),
        ('name = "ffn"', 'name = "every"', "`every` is a word of the language"),
        ('name = "ffn"', 'name = "all"', "`all` is a word of the language"),
        ('feeds = "ffn"', 'feeds = "out"', "feeds 'out', which is no component of blocks"),
        ('name = "blocks"', 'name = "last"', "`last` is a word of the language"),
        ("[[stacks]]", '[groups]\nself = ["atn"]\n[[stacks]]', "the group self has 'atn', which is no component"),
        ("[[stacks]]", '[groups]\nffn = ["attn"]\n[[stacks]]', "'ffn' is a component, so no group of others"),
        ("[[stacks]]", '[groups]\nall = ["attn"]\n[[stacks]]', "none of its names is `all`"),
        ("[[stacks]]", "[blocks]\nsingle = 2\n[[stacks]]", r"\[blocks\] has 'single', which is no stack"),
        ("[[stacks]]", "[config]\nx = " + "[" * 5000 + "\n[[stacks]]", "no TOML"),
        ("[[stacks]]", "#" * MAX_BYTES + "\n[[stacks]]", "larger than 1 MiB"),
    ],
)
def test_mistakes_are_named(old: str, new: str, complaint: str) -> None:
    assert read(GOOD).blocks == 4
    with pytest.raises(EcadError, match=f"^mine.toml: .*{complaint}"):
        read(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("wan.toml", "wan"),
        ("flux.2-dev.toml", "flux.2-dev"),
        ("My Wan (2).toml", "my-wan-2"),
        ("2.toml", "model-2"),
        ("all.toml", "model-all"),
        ("\u00e9.toml", "model"),
    ],
)
def test_a_model_is_called_by_its_file(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text(GOOD)
    assert load_spec(tmp_path / file).name == name


def test_a_missing_file_is_named() -> None:
    with pytest.raises(EcadError, match=r"there is no file none.toml"):
        load_spec("none.toml")
