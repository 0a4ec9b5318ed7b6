"""Training with mixed precision: the demo's network, one epoch for each precision."""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bench.context import ROOT
from bench.errors import BenchError
from bench.hardware.check import Check, Results, SkippedError, attempt

__all__ = ["run"]

ON_GPU = ("32-true", "16-mixed", "bf16-mixed")
ON_CPU = ("bf16-mixed",)
SAMPLE = ROOT / "exporter" / "convscope" / "exporter" / "data" / "mnist_sample.npz"
# BF16 is slow on most CPUs, so that a part of the sample has to do, in two epochs.
CPU_IMAGES, CPU_TEST_IMAGES, CPU_EPOCHS = 2000, 500, 2
# digits reaches 0.9 and more; by chance it is 0.1.
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
    command = [sys.executable, "-m", "convscope.exporter", "train", "digits"]
    command += ["--precision", precision, "--repository", str(root), "--runs", str(root / "runs")]
    command += ["--no-explanations", "--quiet"]
    environment = dict(os.environ)
    if check.on_gpu:
        command += ["--epochs", "1"]
    else:
        dataset = _write_part(check.scratch / "part.npz")
        command += ["--epochs", str(CPU_EPOCHS), "--dataset", f"npz:{dataset}"]
        # Several threads wait for each other most of the time if the machine is busy.
        environment["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=check.left(),
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"{precision}: {(done.stderr or done.stdout).strip()[-600:]}")
    manifest = json.loads((root / "digits" / "1" / "manifest.json").read_text())
    metrics = {each["name"]: each["value"] for each in manifest["provenance"]["metrics"]}
    return {
        "seconds": round(time.monotonic() - began, 1),
        "top1_accuracy": metrics["top1_accuracy"],
    }


def _write_part(path: Path) -> Path:
    """Write a dataset with a part of the sample's images."""
    with np.load(SAMPLE) as sample:
        np.savez(
            path,
            x_train=sample["train_images"][:CPU_IMAGES, ..., np.newaxis],
            y_train=sample["train_labels"][:CPU_IMAGES],
            x_test=sample["test_images"][:CPU_TEST_IMAGES, ..., np.newaxis],
            y_test=sample["test_labels"][:CPU_TEST_IMAGES],
        )
    return path
