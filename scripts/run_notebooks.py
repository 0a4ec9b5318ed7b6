"""Execute the notebooks of docs/notebooks, and store their outputs.

A server of the demo's models must run: `make serve`. Its address is in CONVSCOPE_SERVER, by default
localhost:8001.
"""

import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "notebooks"
TIMEOUT_SECONDS = 300


def execute(path: Path) -> Any:
    """Return a notebook with new outputs. The first cell that fails is an error."""
    import nbformat  # takes three seconds, which pytest would spend in each of its processes
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=TIMEOUT_SECONDS, resources=resources).execute()
    for cell in notebook.cells:  # the times of the run would be changes in every commit
        cell.metadata.pop("execution", None)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def main() -> None:
    """Execute all notebooks."""
    import nbformat

    for path in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(execute(path), path)
        print(f"{path.name}: {path.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
