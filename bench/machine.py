"""The environment of the figures: machine, versions and commit."""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.context import ROOT

__all__ = ["describe"]

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
            **{name: version for name in PACKAGES if (version := _version(name))},
            "h2load": _first_line(["h2load", "--version"]).rpartition("/")[2],
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # onnxruntime-gpu, for example, replaces onnxruntime
        return None


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
