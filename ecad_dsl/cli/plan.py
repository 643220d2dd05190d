"""``ecad bench --plan``: the table of a paper in one command, from a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from ecad_dsl.cli.console import GOES_ON, echo, interruptible, print_json, print_table, progress_bar, writable_folder
from ecad_dsl.errors import EcadError


@interruptible(f"finished pictures, numbers and timings are kept, and {GOES_ON}")
def bench_plan(source: str, folder: Path, settings: Sequence[str], files: Sequence[str], *, json: bool) -> None:
    """Carry out a plan in a folder, print its table, and write it there as table.csv, .md and .tex.

    Schedules in files are rows beside those of the plan.
    """
    from ecad_dsl.analysis.tables import FORMATS, cells, headings
    from ecad_dsl.files import write_text
    from ecad_dsl.pipelines.benchmark import run_plan
    from ecad_dsl.quality.plan import read_plan

    plan = read_plan(source, _settings(settings), files)
    writable_folder(folder)
    with progress_bar() as bar:
        task = bar.add_task("loading", total=1)
        frame = run_plan(
            plan,
            folder,
            lambda what, done, total: bar.update(task, description=escape(what), completed=done, total=total),
        )
    for suffix, write in FORMATS.items():
        write_text(folder / f"table{suffix}", write(frame))
    if json:
        print_json(frame.to_dict("records"))
        return
    print_table(escape(plan.title), headings(frame), [[escape(cell) for cell in line] for line in cells(frame)])
    echo(f"written: {folder / 'table'}.csv (with intervals), .md and .tex")


def _settings(given: Sequence[str]) -> Mapping[str, Any]:
    """Keys of the plan as the command line gives them: KEY=VALUE, the value as in TOML, or a word."""
    import tomllib

    settings: dict[str, Any] = {}
    for setting in given:
        key, equals, value = setting.partition("=")
        if not equals:
            raise EcadError(f"--set wants KEY=VALUE, such as batch=16, not {setting!r}")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value
    return settings
