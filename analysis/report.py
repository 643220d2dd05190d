"""A report as one HTML file that opens from disk: pictures, table and programs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import pandas as pd
from jinja2 import Environment

from ecad_dsl.files import write_text


def write_report(
    path: Path,
    *,
    title: str,
    notes: Sequence[str],
    table: pd.DataFrame,
    figures: Mapping[str, Path],
    programs: Mapping[str, str],
) -> None:
    """Write the report. ``figures`` are PNG files by heading, taken into the page; ``programs`` texts by name."""
    page = Environment(autoescape=True).from_string(
        resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    pictures = {heading: base64.b64encode(file.read_bytes()).decode() for heading, file in figures.items()}
    lines = table.to_dict("records")
    write_text(path, page.render(title=title, notes=notes, lines=lines, pictures=pictures, programs=programs))
