"""What nvidia-smi reports about the GPUs. It only reads."""

import csv
import shutil
import subprocess
from typing import Any

__all__ = ["gpu_memory_mb", "read_gpus"]

_FIELDS = (
    *("name", "driver_version", "compute_cap", "memory.total", "memory.used"),
    *("utilization.gpu", "clocks.max.sm", "power.limit", "mig.mode.current"),
)


def read_gpus() -> list[dict[str, str]]:
    """Return the properties of each GPU; none without nvidia-smi."""
    return [dict(zip(_FIELDS, row, strict=False)) for row in _query(_FIELDS)]


def gpu_memory_mb() -> list[float] | None:
    """Return the memory in use on each GPU, in MiB; None without a GPU."""
    rows = _query(("memory.used",))
    return [float(used) for (used,) in rows] or None


def _query(fields: tuple[str, ...]) -> list[list[Any]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        return []
    return list(csv.reader(done.stdout.splitlines(), skipinitialspace=True))
