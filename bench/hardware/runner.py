"""Runs the sections one after the other within the time of the whole check."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bench.context import ROOT
from bench.cpu import family
from bench.hardware.sections import SECTIONS

__all__ = ["Runner"]

# A section that started with less could only fail.
LEAST_SECONDS = 3.0
# A section ends by itself before the end of its time, then it is asked to, then it is killed.
MARGIN_SECONDS = 5.0
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs sections.

    Args:
        provider: The execution provider under test.
        models: A repository; None for the checkout's bundles and exports.
        seconds: The time of the whole check.
        window: The seconds of one measurement of speed.
        scratch: A directory for all files.
        deadline: When the check ends, in seconds since the epoch.
    """

    provider: str
    models: Path | None
    seconds: float
    window: float
    scratch: Path
    deadline: float

    def run(self, name: str) -> dict[str, Any]:
        """Run a section and return its results and its status."""
        left = self.deadline - time.time()
        if left < LEAST_SECONDS:
            return {"status": "skipped", "reason": f"the {self.seconds:.0f} s are used up"}
        share = SECTIONS[name][1] * self.seconds
        deadline = time.time() + min(left, share)
        task, result = self.scratch / f"{name}.task", self.scratch / f"{name}.result"
        task.write_text(json.dumps(self._task(deadline)))
        problem = self._wait_for([name, str(task), str(result)], deadline)
        if result.exists():
            document: dict[str, Any] = json.loads(result.read_text())
            return document
        return {"status": "failed", "reason": problem}

    def _task(self, deadline: float) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "models": self.models and str(self.models),
            "scratch": str(self.scratch),
            "window": self.window,
            "deadline": deadline,
        }

    def _wait_for(self, arguments: list[str], deadline: float) -> str:
        """Run the process, and return how it ended."""
        command = [sys.executable, "-m", "bench.hardware.section", *arguments]
        with TemporaryFile() as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
            try:
                process.wait(deadline + MARGIN_SECONDS - time.time())
            except subprocess.TimeoutExpired:
                _end(process)
            finally:
                if process.poll() is None:
                    _kill(process)
            output.seek(0)
            words = output.read().decode(errors="replace").strip()[-600:]
        return f"the section ended with {process.returncode}: {words}"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to stop what it has started, and to write its results."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it has started."""
    with contextlib.suppress(OSError):
        for pid in reversed(family(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)
