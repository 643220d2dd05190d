"""A run as one HTML file that opens from disk: nothing in it is fetched, everything in it is computed from frames.

The page is made of ``templates/``. It works without scripts too, but for the plots; with them, points and rows lead to
schedules. Names, captions and programs may be anybody's: whatever comes from outside is escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ecad_dsl.analysis.census import agreement, survival
from ecad_dsl.analysis.frames import Frames, of_one_length
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ecad_dsl import schedules as library
from ecad_dsl.files import write_text
from ecad_dsl.language import format_statement
from ecad_dsl.language.highlight import highlighted
from ecad_dsl.quality.bootstrap import RESAMPLES
from ecad_dsl.schedule import Schedule, compile, parse
from ecad_dsl.schedule.explain import Explanation, explain
from ecad_dsl.schedule.svg import heat_map

SMALL = 64
"""Pictures of up to so many pixels a side are kept as they are."""
LARGE = 320
"""Larger ones are kept as JPEG, of this many pixels at most."""
WINDOWS = ("first third", "second third", "last third")


@dataclass(frozen=True)
class Report:
    """What a page shows. Names are those of the table's rows everywhere."""

    title: str
    frames: Frames
    """Of the run."""
    table: pd.DataFrame
    """A row for each schedule, as ``compare.table`` makes it; what was not measured is NaN."""
    schedules: Mapping[str, Schedule]
    programs: Mapping[str, str]
    """Texts of the schedules that have one."""
    keys: Mapping[str, str]
    """Of the run's candidates among them."""
    measured_on: str
    """What rewards are means over, such as "96 held-out prompts"."""
    verdicts: Sequence[Mapping[str, Any]] = ()
    """Of ``compare.verdict``."""
    claims: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Of ``claims.claims``: what the evolved schedules as a family gain over each other schedule."""
    hypervolumes: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Of ``claims.hypervolumes``."""
    pictures: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    """[captions, 3, height, width] in [0, 1]"""
    captions: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    commands: Sequence[str] = ()
    """That make the run and this page again."""
    quality: str = "mean reward"


def write_report(path: Path, report: Report) -> None:
    """Write the page.

    Raises:
        EcadError: the file cannot be written.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # jinja2 refuses what a template misspells; JSON in a script has no < in it (the filter tojson).
    page = environment.from_string(_template("report.html.j2"))
    write_text(path, page.render(**_context(report)))


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _context(report: Report) -> dict[str, Any]:
    from plotly.offline import get_plotlyjs

    subjects = _subjects(report)
    spec, steps = report.frames.spec, report.frames.steps
    measured = report.table["reward_low"].notna().any()
    return {
        "title": report.title,
        "subtitle": f"{spec.title}, {steps} steps, {spec.cells * steps:,} cells. Rewards are means over "
        f"{report.measured_on}{'; intervals are 95 % bootstrap' if measured else ''}.",
        "css": Markup(_template("report.css")),
        "js": Markup(_template("report.js")),
        "plotly": Markup(get_plotlyjs()),
        "claims": [claim(verdict, report.measured_on) for verdict in report.verdicts if verdict["evolved"] is not None],
        "claims_note": _claims_note(report) if report.verdicts else "",
        "rivals": report.claims.to_dict("records"),
        "hypervolumes": report.hypervolumes.to_dict("records"),
        "y_label": report.quality,
        "front_note": _front_note(report),
        "subjects": subjects,
        "captions": report.captions,
        "intervals": measured,
        "timed": report.table["speedup"].notna().any(),
        "table_note": _table_note(report),
        "csv": _data_url(report.table.to_csv(index=False).encode(), "text/csv;charset=utf-8"),
        "convergence": report.frames.generations.to_dict("records"),
        "search_note": _search_note(report.frames),
        "census": _census(report),
        "commands": report.commands,
        "repeat_note": _repeat_note(report),
        "settings": sorted((name, str(value)) for name, value in report.settings.items()),
        "downloads": [s for s in subjects if s["program"] and s["group"] == "evolved"],
        "data": _data(report, subjects),
    }


# Claims, in words.


def claim(verdict: Mapping[str, Any], measured_on: str) -> dict[str, str]:
    """A sentence on what an evolved schedule gained over a rival, and whether that is beyond doubt."""
    low, high, fewer = verdict["low"], verdict["high"], verdict["fewer_macs"]
    kind, words = "open", "the interval holds zero: not told apart"
    if low > 0:
        kind, words = "better", "better: the interval lies above zero"
    elif high < 0:
        kind, words = "worse", "worse: the interval lies below zero"
    cost = f"{_percent(abs(fewer))} {'fewer' if fewer >= 0 else 'more'} MACs"
    return {
        "verdict": kind,
        "in_words": words,
        "gain": f"{_signed(verdict['gain'])} reward",
        "sentence": f"{verdict['evolved']} against {verdict['rival']}, with {cost}, on {measured_on}; "
        f"95\N{NO-BREAK SPACE}% interval {_signed(low)} to {_signed(high)}.",
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _claims_note(report: Report) -> str:
    unanswered = [str(verdict["rival"]) for verdict in report.verdicts if verdict["evolved"] is None]
    note = (
        "A rival is answered by the bred schedule that does best on the calibration prompts among those that cost no"
        " more than it; held-out prompts have no say in the choice. Differences are taken prompt by prompt, from the"
        f" same noise; intervals are of {RESAMPLES:,} bootstrap resamples of the prompts, each for itself."
    )
    return f"{note} Nothing bred costs as little as {', '.join(unanswered)}." if unanswered else note


def _front_note(report: Report) -> str:
    counts = report.table["group"].value_counts()
    parts = [f"{counts[group]} {group}" for group in counts.index]
    low, _ = _range(report.table)
    below = int((report.table["reward"] < low).sum())
    note = (
        f"{len(report.table)} schedules ({', '.join(parts)}) on {report.measured_on}. Up and to the left is"
        " better. A line joins all that were bred, not the best of them on these prompts."
    )
    return f"{note} {below} of them do worse than the plot shows; double-click it to see all." if below else note


def _table_note(report: Report) -> str:
    note = "MACs count as the paper does: linear and convolution layers, attention's products left out."
    if report.table["speedup"].notna().any():
        note += (
            " Speed-ups are medians of interleaved pairs with the plain pipeline, on the machine that made this page;"
            " beside them, what the MACs promise."
        )
    return note


def _search_note(frames: Frames) -> str:
    generations, candidates = frames.generations, frames.candidates
    failed = int((candidates["error"].fillna("") != "").sum())
    return (
        f"{len(candidates):,} schedules were measured in {len(generations):,} generations, the first of them written by"
        f" hand; {failed:,} failed. Measuring took {candidates['seconds'].sum():,.0f} s in all processes together."
        " The search front is all that nothing measured beats, by what the search goes by on the calibration prompts;"
        " the final front, which this page compares, is what the run's folder front/ has of it in the end. Hypervolume"
        " is the area that the search front dominates; 1 is the area between the worst and the best values of the first"
        " generation."
    )


def _repeat_note(report: Report) -> str:
    versions = [
        f"{name.removeprefix('version of ')} {value}"
        for name, value in sorted(report.settings.items())
        if name.startswith("version of ")
    ]
    note = "The same commands with the same versions give the same schedules and rewards; times are the machine's."
    return f"{note} Made with {', '.join(versions)}." if versions else note


# Schedules.


def _subjects(report: Report) -> list[dict[str, Any]]:
    lines = report.table.sort_values("macs").to_dict("records")
    ids = {line["name"]: f"s{number}" for number, line in enumerate(lines)}
    return [_subject(report, {str(k): v for k, v in line.items()}, ids) for line in lines]


def _subject(report: Report, line: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    name = line["name"]
    schedule, text = report.schedules[name], report.programs.get(name)
    return {
        **line,
        "id": ids[name],
        "file": _file_name(name),
        "recomputed": schedule.recomputed,
        "cells": schedule.steps * schedule.spec.cells,
        "heat_map": Markup(heat_map(schedule)),
        "program": Markup(highlighted(text)) if text is not None else None,
        "download": None if text is None else _data_url(text.encode(), "text/plain;charset=utf-8"),
        "rules": [] if text is None else [_rule(e) for e in explain(parse(text), schedule.spec, schedule.steps)],
        "story": list(_story(report.frames.candidates, report.keys[name])) if name in report.keys else [],
        "picture_rows": _picture_rows(report, line, ids) if report.captions else [],
    }


def _rule(explanation: Explanation) -> dict[str, str]:
    if not explanation.share:
        worth = "All else being equal it saves nothing." if explanation.share is not None else ""
    else:
        verb = "saves" if explanation.share > 0 else "costs"
        worth = f"All else being equal it {verb} {_percent(abs(explanation.share))} of recomputing everything."
    return {"sentence": explanation.sentence, "worth": worth}


def _story(candidates: pd.DataFrame, key: str) -> Iterator[dict[str, Any]]:
    """From one of the first generation, by first parents, to the candidate: edits, and rules that came and went."""
    known = {str(line["key"]): {str(k): v for k, v in line.items()} for line in candidates.to_dict("records")}
    line = [known[key]]
    while (parents := line[0]["parents"]) and parents[0] in known and known[parents[0]] not in line:
        line.insert(0, known[parents[0]])
    before: list[str] = []
    for step in line:
        rules = step["program"].splitlines()
        yield {
            **step,
            "added": [rule for rule in rules if rule not in before],
            "removed": [rule for rule in before if rule not in rules],
        }
        before = rules


def _picture_rows(report: Report, line: Mapping[str, Any], ids: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Rows of the uncached pictures, of the schedule's own and of the baseline that costs about as much."""
    plain = next(
        name for name, group in zip(report.table["name"], report.table["group"], strict=True) if group == "none"
    )
    rivals = [plain]
    if line["name"] != plain:
        rivals.append(line["name"])
    if line["group"] == "evolved" and (equal := equal_cost(report.table, line["macs"])) is not None:
        rivals.append(equal)
    share = dict(zip(report.table["name"], report.table["macs_share"], strict=True))
    rows: list[dict[str, str | None]] = []
    for name in rivals:
        if name not in report.pictures:
            continue
        label = "uncached" if name == plain else f"{name}, {_percent(share[name])} of MACs"
        rows.append({"label": label, "of": ids[name], "minus": None})
        if name != plain and plain in report.pictures:
            rows.append({"label": "difference", "of": ids[name], "minus": ids[plain]})
    return rows


def equal_cost(table: pd.DataFrame, macs: float) -> str | None:
    """Name of the baseline whose MACs are closest to these."""
    baselines = table[table["group"] == "baseline"]
    if baselines.empty:
        return None
    distance = (np.log(baselines["macs"].astype(float)) - np.log(macs)).abs()
    return str(baselines.loc[distance.idxmin(), "name"])


# The final front as a whole.


def _census(report: Report) -> dict[str, Any] | None:
    """Which cells and rules the schedules of the final front share; and what survived on the search front."""
    front = {name: key for name, key in report.keys.items() if name in report.schedules}
    schedules = [report.schedules[name] for name in front]
    if not schedules:
        return None
    mapped = of_one_length(schedules)
    rules = report.frames.rules[report.frames.rules["key"].isin(front.values())]
    counts = rules.groupby("rule")["key"].nunique().sort_values(ascending=False)
    shared = counts[counts > 1].head(20)
    survived = survival(report.frames)
    survived = survived[survived["front"] > 0]
    return {
        "traits": survived.to_dict("records"),
        "agreement": _agreement(schedules),
        "note": f"Of the {len(mapped)} schedules of the final front that are shown here, how many recompute each cell.",
        "heat_map": Markup(heat_map(*mapped)),
        "rules": [
            {"rule": rule, "schedules": int(count), "share": count / len(schedules)} for rule, count in shared.items()
        ],
        "windows": WINDOWS,
        "parts": _parts(mapped),
    }


def _agreement(schedules: Sequence[Schedule]) -> list[dict[str, Any]]:
    """How alike the final front and each released schedule are, on the grid that all models share."""
    lines = []
    for name in library.names("paper"):
        program = library.load(name)
        alike = agreement(schedules, [compile(program)]).set_index("axis")
        lines.append({"name": name, **{axis: alike.at[axis, "correlation"] for axis in ("all", "steps", "blocks")}})
    return lines


def _parts(schedules: Sequence[Schedule]) -> list[dict[str, Any]]:
    """For each component, the share of its cells that are recomputed, in thirds of the steps and in all."""
    parts = []
    for stack in schedules[0].spec.stacks:
        mean = np.mean([schedule.to_numpy()[stack.name] for schedule in schedules], axis=0)
        for index, component in enumerate(stack.components):
            windows = [*np.array_split(mean[:, :, index], len(WINDOWS)), mean[:, :, index]]
            shares = [float(window.mean()) if window.size else 0.0 for window in windows]
            parts.append({"name": f"{stack.name}: {component.name}", "shares": shares})
    return parts


# What the scripts are told.


def _data(report: Report, subjects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    floor, ceiling = _range(report.table)
    answers = [verdict["evolved"] for verdict in report.verdicts if verdict["evolved"] is not None]
    first = next((s["id"] for s in subjects if answers and s["name"] == answers[0]), subjects[0]["id"])
    return {
        "y": report.quality,
        "first": next((s["id"] for s in subjects if s["group"] == "evolved"), first) if not answers else first,
        "points": [
            {
                "id": s["id"],
                "name": s["name"],
                "group": s["group"],
                "x": 100 * s["macs_share"],
                "y": s["reward"],
                "low": _finite(s["reward_low"]),
                "high": _finite(s["reward_high"]),
                "text": "\n".join(map(format_statement, parse(report.programs.get(s["name"], "")).rules)),
            }
            for s in subjects
        ],
        "floor": _finite(floor),
        "ceiling": _finite(ceiling),
        "generations": report.frames.generations[["generation", "hypervolume", "front_size"]].to_dict("records"),
        "pictures": {
            s["id"]: [_picture(picture) for picture in report.pictures[s["name"]]]
            for s in subjects
            if s["name"] in report.pictures
        },
    }


def _range(table: pd.DataFrame) -> tuple[float, float]:
    """Rewards that the plot shows at first; NaN for all of them.

    Schedules that spoil everything would squeeze those that anybody would use into one line.
    """
    floor = table.loc[table["group"] != "evolved", "reward_low"].min()
    ceiling = table["reward_high"].max()
    room = 0.08 * (ceiling - floor)
    return floor - room, ceiling + room


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def _picture(picture: np.ndarray[Any, Any]) -> str:
    """[3, height, width] in [0, 1] as a data URL."""
    image = Image.fromarray((255 * np.clip(picture, 0, 1)).round().astype(np.uint8).transpose(1, 2, 0))
    small = max(image.size) <= SMALL
    if not small:
        image.thumbnail((LARGE, LARGE))
    file = BytesIO()
    image.save(file, "PNG" if small else "JPEG", optimize=True, quality=88)
    return _data_url(file.getvalue(), "image/png" if small else "image/jpeg")


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _file_name(name: str) -> str:
    return (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "schedule") + ".ecad"
