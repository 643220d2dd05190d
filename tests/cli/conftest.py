"""Commands run in this process, and files for them."""

import sys
from pathlib import Path

import pytest

from ecad_dsl.cli.main import main

Result = tuple[int, str, str]


@pytest.fixture
def ecad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run a command in this process: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        else:
            code = 0
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err

    return run


@pytest.fixture
def write(tmp_path: Path):
    def save(text: str | bytes, name: str = "a.ecad") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return save
