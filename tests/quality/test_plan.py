"""Plans of benchmarks: those that ship fit their models, and a mistake is named."""

from pathlib import Path

import pytest

from ecad_dsl.errors import EcadError
from ecad_dsl.models import load_spec
from ecad_dsl.pipelines.benchmark import fitted
from ecad_dsl.quality.plan import Wanted, plan_names, read_plan
from ecad_dsl.schedule import compile, parse, save_safetensors

SMALL = 'model = "reference"\n'


@pytest.mark.parametrize("name", plan_names())
def test_every_schedule_of_a_plan_that_ships_fits_its_model(name: str) -> None:
    plan = read_plan(name)
    spec = load_spec(plan.model)
    rows = [fitted(wanted, spec, wanted.steps or plan.steps or 20) for wanted in plan.rows]
    assert rows[0].is_plain
    assert [row.schedule.steps for row in rows] == [wanted.steps or plan.steps or 20 for wanted in plan.rows]
    assert any(row.schedule.recomputed < row.schedule.steps * spec.cells for row in rows)
    assert plan.sets


def test_a_schedule_of_20_steps_keeps_about_its_share_at_other_numbers() -> None:
    spec = load_spec("pixart-alpha")
    shares = {}
    for wanted in read_plan("transfer-steps").rows:
        schedule = fitted(wanted, spec, wanted.steps or 20).schedule
        shares[wanted.name] = schedule.recomputed / (schedule.steps * spec.cells)
    moved = [share for name, share in shares.items() if name.startswith("pixart-alpha-256-fast")]
    assert len(moved) == 5
    assert moved == pytest.approx([moved[0]] * 5, abs=0.15)  # the first step recomputes all, and of few it is more


def test_masks_are_a_row_like_any_other(tmp_path: Path) -> None:
    spec = load_spec("pixart-alpha")
    released = str(Path(__file__).parent.parent / "data" / "paper" / "pixart_alpha_256_fast.json")
    masks, program = (fitted(Wanted(file, "fast"), spec, 20) for file in (released, "pixart-alpha-256-fast"))
    assert masks.schedule.key == program.schedule.key
    with pytest.raises(EcadError, match="for 20 steps, not 12; say retarget = true"):
        fitted(Wanted(released, "fast"), spec, 12)
    file = str(tmp_path / "fora.safetensors")
    save_safetensors(compile(parse("cache all every 2 steps"), spec, 20), file)
    moved = fitted(Wanted(file, "fora", retarget=True), load_spec("pixart-sigma"), 12)
    assert moved.text.endswith("cache all every 2 steps\n")
    assert (moved.schedule.spec.name, moved.schedule.steps) == ("pixart-sigma", 12)


def test_rows_begin_with_none_and_may_be_added(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(SMALL + 'schedules = ["fora-2", { schedule = "none", steps = 10 }]')
    plan = read_plan(file, {"steps": 12}, ["fora-3", "own/fast.ecad"])
    assert [row.name for row in plan.rows] == ["none", "fora-2", "none, 10 steps", "fora-3", "fast"]
    assert (plan.title, plan.steps) == ("own", 12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no model"),
        ("model = 3", "model of the plan is of the wrong kind: 3"),
        ("model", "is not TOML"),
        (SMALL + "colour = 1", "the plan has no key 'colour'; it has title, model"),
        (SMALL + "batch = 0", "batch is at least 1, not 0"),
        (SMALL + 'dtype = "int4"', "dtype is one of float32, bfloat16, float16, not 'int4'"),
        (SMALL + 'schedules = ["fora-2", "fora-2"]', "two schedules are called 'fora-2'"),
        (SMALL + "schedules = [3]", "a schedule is a table, not 3"),
        (SMALL + 'schedules = [{ name = "a" }]', "with the key schedule"),
        (SMALL + '[[sets]]\nname = "a"', "a set says name, prompts and metrics; prompts is missing"),
        (SMALL + '[[sets]]\nname = "a"\nprompts = "b"\nmetrics = ["c"]', "unknown metric 'c'"),
        (SMALL + '[[sets]]\nname = "a"\nprompts = "b"\nmetrics = ["fid"]', "ecad metrics stats"),
    ],
)
def test_a_mistake_is_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with pytest.raises(EcadError, match=message.replace("(", r"\(")) as error:
        read_plan(file)
    assert str(file) in str(error.value)


def test_a_plan_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(EcadError, match="paper-pixart"):
        read_plan("papr-pixart")
    with pytest.raises(EcadError, match="there is no file"):
        read_plan("missing.toml")
