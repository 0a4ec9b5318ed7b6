"""The environment of the figures: machine, versions and commit."""

import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.context import ROOT

__all__ = ["describe", "share_taken_by_others"]

PACKAGES = ("convscope", "grpcio", "protobuf", "onnxruntime", "numpy", "Pillow", "uvloop", "onnx")


def describe() -> dict[str, Any]:
    """Describe the environment and the time of this run."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "kernel": platform.release(),
            "architecture": platform.machine(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
            "h2load": _first_line(["h2load", "--version"]).rpartition("/")[2],
        },
    }


def share_taken_by_others(seconds: float = 0.4) -> float:
    """Measure the share of the CPU, from 0 to 1, that other processes use."""
    before = _jiffies()
    time.sleep(seconds)
    busy, total = (after - start for after, start in zip(_jiffies(), before, strict=True))
    return busy / total if total else 0.0


def _jiffies() -> tuple[int, int]:
    """Return the busy time and the total time of all cores, or (0, 0) outside Linux."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0, 0
    fields = [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or sys.platform


def _git(*arguments: str) -> str:
    return _first_line(["git", "-C", str(ROOT), *arguments])


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0]
