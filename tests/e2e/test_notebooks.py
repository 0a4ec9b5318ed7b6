"""The notebooks of the documentation run, and their outputs have pictures."""

from pathlib import Path
from typing import Any

import pytest
from support.server import ServerProcess

from scripts.run_notebooks import FOLDER, execute

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# GitHub shows a notebook of this size at once.
MAX_BYTES = 400_000


def read(path: Path) -> Any:
    """Return a notebook. The import takes three seconds, and most processes of pytest skip it."""
    import nbformat

    return nbformat.read(path, as_version=4)


def shown(notebook: Any) -> list[str]:
    """Return the richest form of each output."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = ("text/html", "image/png", "text/plain")
    return [
        next(str(output["data"][kind]) for kind in kinds if kind in output["data"])
        for output in outputs
        if "data" in output
    ]


@pytest.mark.slow(seconds=15)
@pytest.mark.timeout(900)  # the fixture exports the models of the demo
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Jupyter packages
@pytest.mark.one_transport("a notebook is about the client")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(
    path: Path, demo_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSCOPE_SERVER", demo_server.target)
    outputs = shown(execute(path))
    assert len(outputs) == len(shown(read(path)))
    assert sum("data:image/" in output for output in outputs) >= 4
    assert any("espresso" in output for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_committed_outputs_are_small_and_complete(path: Path) -> None:
    notebook = read(path)
    assert path.stat().st_size < MAX_BYTES
    assert shown(notebook)
    assert all(
        output.output_type != "error"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
