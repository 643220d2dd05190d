"""``ecad census``: what a front has in common, beside the schedules that the paper released."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecad_dsl.cli.console import (
    JsonOption,
    ModelOption,
    StepsOption,
    check_picture,
    check_writable,
    console,
    echo_err,
    open_schedule,
    print_json,
    print_table,
)
from ecad_dsl.errors import EcadError

if TYPE_CHECKING:
    import pandas as pd

    from ecad_dsl.schedule import Schedule


def register(app: typer.Typer) -> None:
    app.command()(census)


def census(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE|RUN...", help="Schedules by file or name, or the folder of one run.")
    ],
    model: ModelOption = None,
    steps: StepsOption = None,
    picture: Annotated[
        Path | None,
        typer.Option("--map", help="Also draw how many of them recompute each cell, as .png, .svg or .pdf."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Count what schedules have in common: when and where they recompute; of a run also which rules survived.

    Of a run they are the search front: all that nothing measured beats, by what the search goes by. Beside them stand
    the released schedules of the paper, each on its own model.
    """
    from ecad_dsl.analysis.census import agreement, profile

    check_picture(picture)
    if picture is not None:
        check_writable(picture)
    chosen, survived = _read(files, model, steps)
    released = _released()
    profiles = {"these": profile(chosen)} | {name: profile([schedule]) for name, schedule in released.items()}
    alike = {name: agreement(chosen, [schedule]) for name, schedule in released.items()}
    if picture is not None:
        from ecad_dsl.analysis import census as counts
        from ecad_dsl.analysis import figures
        from ecad_dsl.analysis.frames import of_one_length

        mapped = of_one_length(chosen) if survived is not None else chosen
        figures.save(figures.heat_map(counts.recompute_map(mapped), f"{len(mapped)} schedules"), picture)
        echo_err(f"written: {picture}")
    if json:
        from ecad_dsl.cli.compare import records

        named = {"profiles": profiles, "agreement": alike}
        tables: dict[str, Any] = {
            kind: {name: records(table) for name, table in group.items()} for kind, group in named.items()
        }
        print_json(tables | ({} if survived is None else {"survival": records(survived)}))
        return
    if survived is not None:
        _print_survival(survived)
    _print_profiles(profiles, alike, len(chosen))


def _read(files: list[str], model: str | None, steps: int | None) -> tuple[list[Schedule], pd.DataFrame | None]:
    """The schedules; and of a run, whose search front they are, which traits survived in it."""
    from ecad_dsl.analysis import frames
    from ecad_dsl.analysis.census import survival

    runs = [file for file in files if (Path(file) / "run.sqlite").is_file()]
    if not runs:
        return [open_schedule(file).on(model, steps) for file in files], None
    if len(files) > 1:
        raise EcadError("a census is of one run, or of several files; name one run alone")
    found = frames.load(runs[0], model, steps)
    if found.front.empty:
        raise EcadError(f"the run in {runs[0]} has no front yet; go on with it: ecad evolve --resume {runs[0]}")
    front = [found.schedule(program) for program in found.front["program"]]
    return front, survival(found)


def _released() -> dict[str, Schedule]:
    from ecad_dsl import schedules
    from ecad_dsl.schedule import compile

    return {name: compile(schedules.load(name)) for name in schedules.names("paper")}


def _print_survival(table: pd.DataFrame) -> None:
    """The most common values of each trait on the search front."""
    shown = table[table["front"] > 0].groupby("trait", observed=True).head(5)
    print_table(
        "Which rules survive: schedules that have at least one such rule",
        ("trait", "of all", "of the search front", "lift"),
        [
            (f"{line['trait']}: {line['value']}", f"{line['all']} ({line['all_share']:.0%})",
             f"{line['front']} ({line['front_share']:.0%})", f"{line['lift']:.2f}")
            for _, line in shown.iterrows()
        ],
    )  # fmt: skip
    console().print(
        "[dim]search front: what nothing measured beats, by what the search goes by. The files in front/, which `ecad"
        " compare` and `ecad report` measure, are the final front.[/]"
    )


def _print_profiles(profiles: dict[str, pd.DataFrame], alike: dict[str, pd.DataFrame], count: int) -> None:
    names = list(profiles)
    first = profiles["these"]
    print_table(
        f"Share recomputed after step 0: these {count}, and the released ones",
        ("place", *names),
        [
            (f"{axis} {place}", *(_percent(profiles[name]["recompute"][row]) for name in names))
            for row, (axis, place) in enumerate(zip(first["axis"], first["place"], strict=True))
        ],
    )
    print_table(
        "Agreement with the released ones: correlation (mean difference)",
        ("over", *alike),
        [
            (str(axis), *(_likeness(table.iloc[row]) for table in alike.values()))
            for row, axis in enumerate(next(iter(alike.values()))["axis"])
        ],
    )


def _percent(share: float) -> str:
    return "" if share != share else f"{share:.0%}"  # noqa: PLR0124 - what a model does not have is NaN


def _likeness(line: pd.Series[Any]) -> str:
    correlation = line["correlation"]
    said = "none" if correlation != correlation else f"{correlation:+.2f}"  # noqa: PLR0124 - NaN: one side is level
    return f"{said} ({line['difference']:.2f})"
