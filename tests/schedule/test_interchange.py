"""Schedules as files of masks: what is written is read, what was released is read, and what is damaged is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import ecad_dsl as ecad
from ecad_dsl.errors import EcadError, EcadWarning
from ecad_dsl.models import ModelSpec, load_spec, spec_names
from ecad_dsl.schedule import (
    Schedule,
    compile,
    cost,
    export_json,
    import_json,
    load_safetensors,
    parse,
    released,
    save_safetensors,
)
from ecad_dsl.schedule.interchange import save_masks
from ecad_dsl.schedule.released import MAX_BYTES

PAPER = Path(__file__).parent.parent / "data" / "paper"
SPECS = [load_spec(name) for name in spec_names()]
SMALL = load_spec("reference")
RELEASED = [
    ("pixart_alpha_256_fast.json", "pixart-alpha", 599, 2_134_989_471_744),
    ("pixart_sigma_256_fast.json", "pixart-sigma", 534, 1_912_970_280_960),
    ("flux_256_fast.json", "flux.1-dev", 1_080, 63_023_156_822_016),
]
"""File, model, recomputed cells (of the first, 598 in the file and one that step 0 adds), total_macs."""

repeated = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def schedules(draw: st.DrawFn, specs: list[ModelSpec] = SPECS) -> Schedule:
    spec = draw(st.sampled_from(specs))
    row = st.integers(0, (1 << spec.cells) - 1)
    return Schedule(spec, tuple(draw(st.lists(row, min_size=1, max_size=6))))


@pytest.fixture(autouse=True)
def _no_warning_goes_unseen() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", EcadWarning)
        yield


# Released files.


@pytest.mark.parametrize(("name", "model", "recomputed", "total"), RELEASED)
def test_released_schedules_have_the_published_cells_and_totals(
    name: str, model: str, recomputed: int, total: int
) -> None:
    """That no warning is raised says that the file's own total was found."""
    schedule = import_json(PAPER / name)
    assert (schedule.spec, schedule.steps, schedule.recomputed) == (load_spec(model), 20, recomputed)
    assert cost(schedule, 256, 256).macs == total


@pytest.mark.parametrize(("name", "model", "recomputed", "total"), RELEASED)
def test_a_released_schedule_written_again_names_the_same_cells_and_macs(
    name: str, model: str, recomputed: int, total: int, tmp_path: Path
) -> None:
    """The same keys and figures as in the file, but for the cells of step 0 and what is measured with a clock."""
    export_json(import_json(PAPER / name), tmp_path / "again.json", height=256, width=256)
    before, after = (json.loads(path.read_text()) for path in (PAPER / name, tmp_path / "again.json"))
    cells, again = before["cache_schedule"], after["cache_schedule"]
    assert again.keys() == cells.keys()
    assert {key: again[key] for key in cells if key.startswith("num_")} == {
        key: cells[key] for key in cells if key.startswith("num_")
    }
    assert again["schedule"].keys() == cells["schedule"].keys()
    assert {**again["schedule"], "000": None} == {**cells["schedule"], "000": None}
    assert all(all(block.values()) for block in again["schedule"]["000"].values())
    assert after["metrics"]["total_macs"] == total == before["metrics"]["total_macs"]
    assert after["metrics"]["total_macs_T"] == before["metrics"]["total_macs_T"]
    for step, figures in before["metrics"]["by_inference_step"].items():
        assert after["metrics"]["by_inference_step"][step]["macs"] == figures["macs"]


def test_the_false_bit_in_step_0_of_a_released_schedule_becomes_true() -> None:
    content = json.loads((PAPER / RELEASED[0][0]).read_text())["cache_schedule"]["schedule"]
    bits = [bit for blocks in content.values() for block in blocks.values() for bit in block.values()]
    assert sum(bits) == 598
    assert sum(bit for block in content["000"].values() for bit in block.values()) == 83
    assert import_json(PAPER / RELEASED[0][0]).rows[0] == (1 << 84) - 1


# What is written is read.


@repeated
@given(schedules())
def test_json_is_read_as_it_was_written(tmp_path: Path, schedule: Schedule) -> None:
    path = tmp_path / "a.json"
    export_json(schedule, path)
    assert import_json(path) == schedule
    assert import_json(path, schedule.spec.name) == import_json(path, schedule.spec) == schedule


@repeated
@given(schedules())
def test_safetensors_are_read_as_they_were_written(tmp_path: Path, schedule: Schedule) -> None:
    path = tmp_path / "a.safetensors"
    save_safetensors(schedule, path)
    assert load_safetensors(path) == load_safetensors(path, schedule.spec) == schedule


def test_a_schedule_of_another_size_is_read_for_the_model_that_is_passed(tmp_path: Path) -> None:
    spec = load_spec("flux.1-dev").resized({"double": 2, "single": 3})
    schedule = Schedule(spec, ((1 << 15) - 1, 0b110_010_101_000_011))
    for name, read in (("a.json", import_json), ("a.safetensors", load_safetensors)):
        save_masks(schedule, tmp_path / name)
        assert read(tmp_path / name, spec) == schedule
        with pytest.raises(EcadError, match=r"pass the model|does not fit FLUX\.1-dev"):
            read(tmp_path / name)


def test_export_says_what_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    schedule = Schedule(SMALL, (0, 0))
    export_json(schedule, path, attributes={"generation": 7, "model": "nonsense"}, height=128, width=64)
    content = json.loads(path.read_text())
    assert content["cache_schedule"]["name"] == "mine"
    assert content["cache_schedule"]["attributes"] == {"generation": 7, "model": "reference"}
    assert content["config"] == {"height": 128, "width": 64}
    assert content["metrics"]["total_macs"] == cost(schedule, 128, 64).macs
    export_json(schedule, path, name="by hand")
    assert json.loads(path.read_text())["cache_schedule"]["name"] == "by hand"


@pytest.mark.parametrize("attributes", [{"x": object()}, {"x": float("nan")}])
def test_attributes_that_are_no_json_are_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    with pytest.raises(EcadError, match="attributes cannot be written"):
        export_json(Schedule(SMALL, (0,)), tmp_path / "a.json", attributes=attributes)
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(released, "MAX_BYTES", 1 << 20)
    with pytest.raises(EcadError, match=r"larger than 1 MiB; write the masks as \.safetensors"):
        export_json(Schedule(SMALL, (0,) * 1_000), tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_masks_are_written_by_the_suffix(tmp_path: Path) -> None:
    schedule = Schedule(SMALL, (0, 5, 0))
    save_masks(schedule, tmp_path / "a.JSON")
    save_masks(schedule, tmp_path / "a.safetensors")
    assert import_json(tmp_path / "a.JSON") == load_safetensors(tmp_path / "a.safetensors") == schedule
    with pytest.raises(EcadError, match=r"as \.safetensors or \.json, by the suffix of the file; not as .*a\.npz"):
        save_masks(schedule, tmp_path / "a.npz")


def test_a_file_of_masks_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(EcadError, match="holds masks, not a program"):
        ecad.load(tmp_path / "a.json")


def test_tensors_need_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from ecad_dsl.schedule import Schedule, load_safetensors, save_safetensors\n"
        "from ecad_dsl.models import load_spec\n"
        "assert 'numpy' not in sys.modules\n"
        "schedule = Schedule(load_spec('reference'), (0, 9))\n"
        "save_safetensors(schedule, sys.argv[1])\n"
        "assert load_safetensors(sys.argv[1]) == schedule\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.safetensors")], check=True)


# Which model a file is for.


def write_json(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def small(rows: tuple[int, ...] = (0, 0b101, 0)) -> dict[str, Any]:
    """A file for the reference model that has only what it must."""
    names = ("attn1", "attn2", "ff")
    schedule = Schedule(SMALL, rows).to_numpy()["blocks"].tolist()
    steps = {
        f"{step:03}": {str(i): dict(zip(names, block, strict=True)) for i, block in enumerate(blocks)}
        for step, blocks in enumerate(schedule)
    }
    return {"cache_schedule": {"schedule": steps}}


def pixart(**content: Any) -> dict[str, Any]:
    names = ("attn1", "attn2", "ff")
    blocks = {str(block): dict.fromkeys(names, True) for block in range(28)}
    return {"cache_schedule": {"schedule": {"000": blocks}, **content}}


def test_absent_optional_parts_are_not_missed(tmp_path: Path) -> None:
    assert import_json(write_json(tmp_path / "a.json", small())) == Schedule(SMALL, (0, 0b101, 0))
    nulls = {"config": None, "metrics": None, **small()}
    assert import_json(write_json(tmp_path / "a.json", nulls)) == Schedule(SMALL, (0, 0b101, 0))


def test_keys_need_not_be_in_order(tmp_path: Path) -> None:
    content = small((0, 0b1, 0b10, 0b100))
    steps = content["cache_schedule"]["schedule"]
    backwards = {
        step.lstrip("0") or "0": {
            block: dict(reversed(components.items())) for block, components in reversed(blocks.items())
        }
        for step, blocks in reversed(steps.items())
    }
    path = write_json(tmp_path / "a.json", {"cache_schedule": {"schedule": backwards}})
    assert import_json(path).rows[1:] == (0b1, 0b10, 0b100)


@pytest.mark.parametrize(
    ("file", "content", "model"),
    [
        ("pixart_sigma_fast.json", {}, "pixart-sigma"),
        ("fast.json", {"name": "PixArt-Sigma, evolved"}, "pixart-sigma"),
        ("fast.json", {"attributes": {"model": "pixart-sigma"}}, "pixart-sigma"),
        ("pixart-sigma.json", {"attributes": {"model": "pixart-alpha"}}, "pixart-alpha"),
        ("pixart_sigma_512_fast.json", {}, "pixart-sigma-512"),
    ],
)
def test_the_file_says_which_of_two_models_it_is_for(
    tmp_path: Path, file: str, content: dict[str, Any], model: str
) -> None:
    path = write_json(tmp_path / file, pixart(**content))
    assert import_json(path).spec.name == model
    assert import_json(path, "pixart-alpha").spec.name == "pixart-alpha"


def test_a_model_that_is_guessed_is_told(tmp_path: Path) -> None:
    path = write_json(tmp_path / "fast.json", pixart(name=None))
    with pytest.warns(EcadWarning, match="fits pixart-alpha and pixart-sigma and does not say which"):
        assert import_json(path).spec.name == "pixart-alpha"


def test_the_size_of_the_pictures_narrows_the_guess(tmp_path: Path) -> None:
    content = {**pixart(name=None), "config": {"height": 512, "width": 512}}
    with pytest.warns(EcadWarning, match="fits pixart-alpha-512 and pixart-sigma-512 and does not say which"):
        import_json(write_json(tmp_path / "fast.json", content))


def test_totals_that_are_not_those_of_the_cells_are_told(tmp_path: Path) -> None:
    content = {**small(), "metrics": {"total_macs": 1}}
    with pytest.warns(EcadWarning, match=r"total_macs is 1, but the schedule costs [0-9,]+ on .* at 256 x 256 pixels"):
        import_json(write_json(tmp_path / "a.json", content))
    with pytest.warns(EcadWarning, match=r"were not checked: .* multiples of 32 pixels, not 100 x 256"):
        import_json(write_json(tmp_path / "a.json", {**content, "config": {"height": 100}}))


# What is wrong with a file is named, with its place.

Edit = Callable[[dict[str, Any]], object]


def cells(content: dict[str, Any]) -> dict[str, Any]:
    steps: dict[str, Any] = content["cache_schedule"]["schedule"]
    return steps


EDITS: list[tuple[Edit, str]] = [
    (lambda c: c.clear(), "there is no cache_schedule"),
    (lambda c: c.update(cache_schedule=[]), r"cache_schedule must be a JSON object, not \[\]"),
    (lambda c: c.update(config="x"), "config must be a JSON object"),
    (lambda c: c.update(metrics={"total_macs": "9"}), "total_macs must be a number, not '9'"),
    (lambda c: c.update(config={"height": True}), "height must be a whole number from 1 to 65,536, not True"),
    (lambda c: c.update(config={"width": 10**9}), "width must be a whole number from 1 to 65,536"),
    (lambda c: c["cache_schedule"].pop("schedule"), "no schedule in cache_schedule"),
    (lambda c: c["cache_schedule"].update(num_blocks=28), "step 000: block 8 of PixArt-alpha is missing"),
    (lambda c: c["cache_schedule"].update(num_blocks=9), "no shipped model has 8 blocks of .*; pass the model"),
    (lambda c: c["cache_schedule"].update(num_inference_steps=4), "step 003 is missing"),
    (lambda c: c["cache_schedule"].update(num_inference_steps=2), "step 002 is one too many"),
    (lambda c: c["cache_schedule"].update(num_inference_steps=2 << 31), "whole number from 1 to 10,000"),
    (lambda c: c["cache_schedule"].update(attributes=3), "attributes must be a JSON object"),
    (lambda c: cells(c).clear(), "step 000 is missing"),
    (lambda c: cells(c).pop("001"), "step 001 is missing"),
    (lambda c: cells(c).update({"1": cells(c)["001"]}), "step 1 is there twice"),
    (lambda c: cells(c).update({"first": {}}), "'first' is no step"),
    (lambda c: cells(c).update({"\ud800" * 99: {}}), "is no step"),
    (lambda c: cells(c).update({"002": 7}), "step 002 must be a JSON object, not 7"),
    (lambda c: cells(c)["002"].update({"3": 7}), "step 002, block '3' must be a JSON object"),
    (lambda c: cells(c)["002"].pop("7"), "step 002: block 7 of the reference model is missing"),
    (lambda c: cells(c)["001"].update({"8": {}}), "step 001: the reference model has no block '8'"),
    (lambda c: cells(c)["001"].update({"07": {}}), "step 001: the reference model has no block '07'"),
    (lambda c: cells(c)["001"]["4"].pop("ff"), "step 001, block 4: component ff of the reference model is missing"),
    (lambda c: cells(c)["001"]["4"].update(x=True), "step 001, block 4: the reference model has no component 'x'"),
    (lambda c: cells(c)["001"]["4"].update(ff=1), "step 001, block 4: ff must be true or false, not 1"),
    (lambda c: cells(c)["000"]["4"].update(x=True), r"no shipped model has 8 blocks of 'attn1', 'attn2', 'ff', 'x'"),
]


@pytest.mark.parametrize(("edit", "message"), EDITS, ids=[message for _, message in EDITS])
def test_the_place_of_a_mistake_is_named(tmp_path: Path, edit: Edit, message: str) -> None:
    content = small()
    edit(content)
    with pytest.raises(EcadError, match=message) as error:
        import_json(write_json(tmp_path / "a.json", content))
    assert "a.json" in str(error.value)
    str(error.value).encode()


def test_a_model_that_the_file_is_not_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EcadError, match="num_blocks is 19, but PixArt-alpha has 28"):
        import_json(PAPER / "flux_256_fast.json", "pixart-alpha")
    with pytest.raises(EcadError, match="step 000: block 8 of PixArt-alpha is missing"):
        import_json(write_json(tmp_path / "a.json", small()), "pixart-alpha")
    with pytest.raises(EcadError, match="unknown model 'nonsense'"):
        import_json(write_json(tmp_path / "a.json", small()), "nonsense")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ('{"cache_schedule": {', "is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"cache_schedule": {}, "metrics": {"x": NaN}}', "NaN is no number"),
        ('{"cache_schedule": {}, "metrics": {"x": -Infinity}}', "-Infinity is no number"),
        ('{"cache_schedule": {"schedule": {"000": {}, "000": {}}}}', "the key '000' is there twice"),
        ('{"cache_schedule": {"num_blocks": ' + "9" * 5000 + "}}", "is no JSON"),
        ("7", "must be a JSON object, not 7"),
        (" " * (MAX_BYTES + 1), "is larger than 16 MiB"),
    ],
    ids=range(10),
)
def test_what_is_no_json_of_a_schedule_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EcadError, match=message):
        import_json(write_json(tmp_path / "a.json", text))


@pytest.mark.parametrize("read", [import_json, load_safetensors])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, read: Callable[[Path], Schedule]) -> None:
    for path, message in ((tmp_path / "no.json", "there is no file"), (tmp_path, "is a folder")):
        with pytest.raises(EcadError, match=message):
            read(path)


def test_more_steps_than_the_limit_are_refused(tmp_path: Path) -> None:
    blocks = cells(small())["000"]
    steps = json.dumps({str(step): 0 for step in range(10_001)}).replace(": 0", f": {json.dumps(blocks)}")
    path = write_json(tmp_path / "a.json", f'{{"cache_schedule": {{"schedule": {steps}}}}}')
    assert path.stat().st_size < MAX_BYTES
    with pytest.raises(EcadError, match="has 10,001 steps; the limit is 10,000"):
        import_json(path)


METADATA = {"format": "ecad", "model": "reference", "steps": "2", "components.blocks": "self,cross,ffn"}
MASK = np.ones((2, 8, 3), dtype=np.bool_)


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"blocks": MASK}, None, "no schedule that ecad wrote"),
        ({"blocks": MASK}, {**METADATA, "model": "mine"}, "for the model 'mine', which is not shipped"),
        ({"blocks": MASK}, {**METADATA, "model": "flux.1-dev"}, "does not fit FLUX.1-dev: .* double, single"),
        ({"blocks": MASK, "more": MASK}, METADATA, "does not fit the reference model"),
        ({"blocks": MASK[:, 1:]}, METADATA, r"must have the shape \(2, 8, 3\), not \(2, 7, 3\)"),
        ({"blocks": MASK[:, :, 1:]}, METADATA, r"must have the shape \(2, 8, 3\), not \(2, 8, 2\)"),
        ({"blocks": MASK}, {**METADATA, "steps": "3"}, "has 2 steps, but the file says '3'"),
        ({"blocks": MASK[:0]}, {**METADATA, "steps": "0"}, "at least one step"),
        ({"blocks": MASK.astype(np.float32)}, METADATA, "must be booleans"),
        ({"blocks": MASK[0]}, METADATA, "must be booleans"),
        ({"blocks": MASK}, {**METADATA, "components.blocks": "cross,self,ffn"}, "are 'cross,self,ffn'; those of"),
        ({"blocks": MASK}, {k: v for k, v in METADATA.items() if "." not in k}, "of blocks are not named; those of"),
        ({"blocks": np.ones((10_001, 1, 1), bool)}, {**METADATA, "steps": "10001"}, "the limit is 10,000"),
    ],
)
def test_tensors_that_disagree_with_the_model_are_refused(
    tmp_path: Path, tensors: dict[str, Any], metadata: dict[str, str] | None, message: str
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path, metadata)
    with pytest.raises(EcadError, match=message):
        load_safetensors(path)


def test_a_header_that_lies_about_its_size_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_safetensors(Schedule(SMALL, (0, 0)), path)
    data = path.read_bytes()
    for length, message in ((2 << 30, "larger than any schedule"), ((1 << 64) - 1, "larger than"), (4000, "damaged")):
        path.write_bytes(length.to_bytes(8, "little") + data[8:])
        with pytest.raises(EcadError, match=message):
            load_safetensors(path)
    path.write_bytes(data[:-1] + b"\x07")
    with pytest.raises(EcadError, match="something else than 0 and 1"):
        load_safetensors(path)
    with path.open("r+b") as file:
        file.truncate(2 << 30)  # a sparse file
    with pytest.raises(EcadError, match="larger than any schedule"):
        load_safetensors(path)


@pytest.mark.parametrize(
    "lie",
    [
        {"shape": [1 << 40, 8, 3]},
        {"shape": [(1 << 64) - 1, (1 << 64) - 1, 3]},
        {"shape": [-2, -8, 3]},
        {"shape": [0, 8, 3]},
        {"data_offsets": [0, 1 << 40]},
        {"data_offsets": [48, 0]},
        {"data_offsets": [-48, 0]},
        {"dtype": "F64"},
        {"dtype": "BOOL5"},
        {"shape": None},
    ],
    ids=str,
)
def test_a_header_that_lies_about_a_mask_is_not_believed(tmp_path: Path, lie: dict[str, Any]) -> None:
    tensor = {"dtype": "BOOL", "shape": [2, 8, 3], "data_offsets": [0, 48]} | lie
    header = json.dumps({"__metadata__": METADATA, "blocks": tensor}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + MASK.tobytes())
    with pytest.raises(EcadError, match=r"damaged|must be booleans"):
        load_safetensors(path)


# Whatever is in a file, it is a schedule or an EcadError.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes cut short, or with some of them written over, left out or put in."""
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(data)))
        last = draw(st.sampled_from((first, first + 1, first + 9, len(data))))
        data = data[:first] + draw(st.binary(max_size=9)) + data[last:]
    return data


def is_refused_or_read(read: Callable[[Path], Schedule], path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with suppress(EcadError):
        assert read(path).steps


# As tests/language/test_fuzz.py, whose variable says how many inputs to try; each is a file here, so a tenth of them.
fuzz = settings(repeated, max_examples=max(100, int(os.environ.get("ECAD_FUZZ", "0")) // 10))


@fuzz
@given(st.data())
def test_damaged_json_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = json.dumps(small((0, 0))).encode()
    is_refused_or_read(import_json, tmp_path / "a.json", data.draw(damaged(whole)))


@fuzz
@given(st.data())
def test_json_with_a_part_replaced_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = small((0, 0)) | {"config": {"guidance_scale": 5}, "metrics": {"by_inference_step": {}}}
    content["cache_schedule"] |= {"num_blocks": 8, "num_inference_steps": 2, "name": "x", "attributes": {}}
    place: Any = content
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[data.draw(st.sampled_from((key, "8", "002", "num_single_blocks")))] = data.draw(json_values)
    is_refused_or_read(import_json, tmp_path / "a.json", json.dumps(content).encode())


@fuzz
@given(st.data())
def test_damaged_tensors_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    save_safetensors(Schedule(SMALL, (0, 5)), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    assert set(load_file(tmp_path / "whole.safetensors")) == {"blocks"}
    is_refused_or_read(load_safetensors, tmp_path / "a.safetensors", data.draw(damaged(whole)))


@fuzz
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    for read, name in ((import_json, "a.json"), (load_safetensors, "a.safetensors")):
        is_refused_or_read(read, tmp_path / name, data)


def test_a_steps_mask_says_which_steps_recompute_everything() -> None:
    spec = load_spec("flux.1-dev")
    fora = compile(parse("cache all every 3 steps"), spec, 7)
    assert fora.steps_mask() == [1, 0, 0, 1, 0, 0, 1]
    mixed = compile(parse("cache all every 3 steps\nrecompute attn at step 2"), spec, 7)
    with pytest.raises(EcadError, match="step 2 recomputes 57 of 171 cells"):
        mixed.steps_mask()
