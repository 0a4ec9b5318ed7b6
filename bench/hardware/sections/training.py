"""Training with mixed precision: the demo's network, one epoch for each precision."""

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any

from bench.context import ROOT
from bench.errors import BenchError
from bench.hardware.check import Check, Results, SkippedError, attempt

__all__ = ["run"]

ON_GPU = ("32-true", "16-mixed", "bf16-mixed")
ON_CPU = ("bf16-mixed",)
# digits reaches more than this in one epoch in FP32; by chance it is 0.1.
LOWEST_ACCURACY = 0.7
SECONDS = 15.0


def run(check: Check, results: Results) -> None:
    """Train, and check that the network has learned something.

    Raises:
        SkippedError: The packages of the exporter are missing.
    """
    missing = [name for name in ("torch", "lightning", "torchmetrics") if find_spec(name) is None]
    if missing:
        raise SkippedError(f"not installed: {', '.join(missing)}")
    trained: dict[str, Any] = {}
    results["precisions"] = trained
    for precision in check.while_time(ON_GPU if check.on_gpu else ON_CPU, SECONDS, results):
        with attempt(precision, results):
            trained[precision] = _train(check, precision)
            if trained[precision]["top1_accuracy"] < LOWEST_ACCURACY:
                raise BenchError("the network did not learn")


def _train(check: Check, precision: str) -> dict[str, Any]:
    root = check.scratch / "trained" / precision
    command = [sys.executable, "-m", "convscope.exporter", "train", "digits", "--epochs", "1"]
    command += ["--precision", precision, "--repository", str(root), "--runs", str(root / "runs")]
    command += ["--no-explanations", "--quiet"]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=check.left(), check=False
    )
    if done.returncode != 0:
        raise BenchError(f"{precision}: {(done.stderr or done.stdout).strip()[-600:]}")
    manifest = json.loads((root / "digits" / "1" / "manifest.json").read_text())
    metrics = {each["name"]: each["value"] for each in manifest["provenance"]["metrics"]}
    return {
        "seconds": round(time.monotonic() - began, 1),
        "top1_accuracy": metrics["top1_accuracy"],
    }
