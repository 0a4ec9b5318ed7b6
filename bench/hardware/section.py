"""Runs one section in a process of its own, so that a crash or a hang doesn't end the check.

Usage: python -m bench.hardware.section NAME TASK RESULT, both of them JSON files
"""

import json
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from bench.cpu import adopt_orphans
from bench.hardware.check import Check, Results, SkippedError
from bench.hardware.sections import SECTIONS

__all__ = ["main"]

TRACE_CHARACTERS = 1500


class _TimeoutError(BaseException):
    """The parent ends the section. Servers are stopped on the way out."""


def main(name: str, task: str, result: str) -> None:
    """Run the section, and write its results and its status."""
    signal.signal(signal.SIGTERM, _stop)
    adopt_orphans()
    document = _run(name, json.loads(Path(task).read_text()))
    Path(result).write_text(json.dumps(document, default=str))


def _run(name: str, task: dict[str, Any]) -> dict[str, Any]:
    check = Check(
        provider=task["provider"],
        scratch=Path(task["scratch"]),
        models=Path(task["models"]) if task["models"] else None,
        window=task["window"],
        deadline=task["deadline"],
    )
    results: Results = {}
    began = time.monotonic()
    try:
        SECTIONS[name][0](check, results)
    except SkippedError as error:
        status = {"status": "skipped", "reason": str(error)}
    except _TimeoutError:
        status = {"status": "failed", "reason": "the time of this section ran out"}
    except Exception as error:  # noqa: BLE001 - whatever fails is a result
        trace = traceback.format_exc()[-TRACE_CHARACTERS:]
        status = {"status": "failed", "reason": f"{type(error).__name__}: {error}", "trace": trace}
    else:
        problems = results.get("problems", [])
        status = {"status": "failed" if problems else "passed"}
        if problems:
            status["reason"] = "; ".join(problems)
    return {**status, "seconds": round(time.monotonic() - began, 1), "results": results}


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TimeoutError


if __name__ == "__main__":
    main(*sys.argv[1:])
