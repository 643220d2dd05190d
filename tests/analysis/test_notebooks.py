"""The notebooks: they run from top to bottom on a small run, and are kept without what they put out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from ecad_dsl.evolution.search import evolve
from tests.evolution.synthetic import Synthetic

FOLDER = Path(__file__).parents[2] / "analysis" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FIGURES = {"baselines": 2, "pareto-front": 4, "read-a-schedule": 1, "your-own-model": 1}
"""How many each is to draw."""


class OnTheReferenceModel(Synthetic):
    def __init__(self) -> None:
        super().__init__()
        self.settings = {"model": "reference", "steps": 20}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelManager]:
    """One kernel for all, since most of their time is that of importing torch; each begins with no names in it."""
    folder = tmp_path_factory.mktemp("run")
    for _ in evolve(OnTheReferenceModel(), folder, population=8, generations=3, seed=0, max_macs=0.6):
        pass
    manager = KernelManager()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (("ECAD_RUN", folder), ("ECAD_PROMPTS", 2), ("OMP_NUM_THREADS", 1)):
            environment.setenv(name, str(value))
        environment.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        manager.start_kernel(cwd=str(FOLDER))
    yield manager
    manager.shutdown_kernel(now=True)


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(FIGURES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_it_put_out(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, kernel: KernelManager) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    NotebookClient(notebook, km=kernel, timeout=900).execute()
    outputs: list[Any] = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if output.output_type in ("display_data", "execute_result")]
    assert sum("image/png" in data for data in shown) == FIGURES[path.stem]
    assert any("<svg" in data.get("text/html", "") or "<pre" in data.get("text/html", "") for data in shown)
