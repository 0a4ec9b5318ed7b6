"""Write the tables and the picture of docs/scaling.md, after running the simulation again."""

import argparse
import json
from pathlib import Path

from bench.context import ROOT
from bench.report import RESULTS, rounded
from bench.scaling.figures import LATEST, SCALE, read, service
from bench.scaling.page import with_tables

__all__ = ["PAGE", "SIMULATION", "main"]

PAGE = ROOT / "docs" / "scaling.md"
PICTURE = ROOT / "docs" / "images" / "scaling.png"
SIMULATION = RESULTS / "simulation.json"


def main() -> None:
    """Simulate, draw, and write the page again if it has changed."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument(
        "--tables",
        action="store_true",
        help="only write the tables, after a new run of make bench or make scale",
    )
    if not parser.parse_args().tables:
        _simulate()
    page = PAGE.read_text()
    _write(PAGE, with_tables(page, read(LATEST), read(SCALE), read(SIMULATION)))


def _simulate() -> None:
    from bench.scaling.plot import draw
    from bench.scaling.scenarios import simulate_all

    document = simulate_all(service(read(LATEST), read(SCALE)))
    text = json.dumps(rounded(document), ensure_ascii=False, separators=(",", ":"))
    _write(SIMULATION, text.replace('},{"', '},\n{"') + "\n")
    draw(read(SIMULATION), PICTURE)
    print(f"written to {PICTURE}")


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        print(f"written to {path}")
    else:
        print(f"{path} is unchanged")


if __name__ == "__main__":
    main()
