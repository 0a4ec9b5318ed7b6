"""The file of results, by the commit of the server."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.attacks.results import Result

__all__ = ["commit_of", "keep", "load"]


def commit_of(checkout: Path) -> tuple[str, str]:
    """Return the short name and the date of a checkout's commit."""
    asked = ["git", "-C", str(checkout), "log", "-1", "--format=%h %cs"]
    name, date = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return name, date


def load(path: Path) -> dict[str, Any]:
    """Return the file, by the date of each commit."""
    runs: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return runs


def keep(path: Path, commit: tuple[str, str], results: Sequence[Result], others: float) -> None:
    """Replace the results of the rows that were run; the others stay.

    Only one run of each day of commits is kept, so that this checkout replaces its earlier runs.
    """
    runs = load(path)
    name, date = commit
    run = runs.setdefault(date, {})
    done = {result.row for result in results}
    kept = [each for each in run.get("results", []) if each["row"] not in done]
    run |= {"commit": name, "measured": time.strftime("%Y-%m-%d"), "others": round(others, 3)}
    run["results"] = kept + [asdict(result) for result in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(runs, indent=1, sort_keys=False) + "\n")
