"""Prepares the bundles: those of a folder, or those of the checkout and exports."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.context import BASE, ROOT
from bench.hardware.check import Check, Results
from convscope.server.runtime.cores import available_cores

__all__ = ["run"]

# PyTorch uses several cores for a part of an export.
CORES_PER_EXPORT = 2
# Threads that spin while they wait would take the cores from the other exports.
THREADS = {"OMP_NUM_THREADS": str(CORES_PER_EXPORT), "OMP_WAIT_POLICY": "PASSIVE"}
NO_TIME = "the time was too short"
# By model, the fastest export first, what `convscope-exporter export` gets besides the name.
EXPORTS: Mapping[str, tuple[str, ...]] = {
    "digits": ("--random-weights",),
    "efficientnet_lite0": (),
    "leung_malik": (),
    "signal_conv": ("--random-weights", "--input", "1x256"),
    "clip_conv": ("--random-weights", "--input", "3x8x32x32"),
    "resnet50": ("--random-weights",),
    "vgg16": ("--random-weights",),
}


def run(check: Check, results: Results) -> None:
    """Copy what exists, export the rest, and report where each bundle is from."""
    check.repository.mkdir(exist_ok=True)
    origins: dict[str, str] = {}
    results["bundles"] = origins
    if check.models is not None:
        for manifest in sorted(check.models.glob("*/*/manifest.json")):
            _copy(manifest.parent, check)
            origins[manifest.parent.parent.name] = "from --models"
    else:
        for name in EXPORTS:
            if (BASE / name / "1" / "manifest.json").exists():
                _copy(BASE / name / "1", check)
                origins[name] = "from the checkout's models/"
        _export([name for name in EXPORTS if name not in origins], check, results)
    if not origins:
        results.setdefault("problems", []).append("there is no bundle")


def _copy(directory: Path, check: Check) -> None:
    target = check.repository / directory.parent.name / directory.name
    if not target.exists():
        shutil.copytree(directory, target)


def _export(names: list[str], check: Check, results: Results) -> None:
    """Export networks, several at once, and keep those that are ready in time."""
    if importlib.util.find_spec("torch") is None:
        results["not_exported"] = dict.fromkeys(names, "PyTorch is not installed")
        return
    with ThreadPoolExecutor(max(1, available_cores() // CORES_PER_EXPORT)) as pool:
        problems = dict(
            zip(names, pool.map(lambda name: _export_one(name, check), names), strict=True)
        )
    results["not_exported"] = {name: problem for name, problem in problems.items() if problem}
    for name, problem in problems.items():
        if not problem:
            weights = "random" if "--random-weights" in EXPORTS[name] else "its own"
            results["bundles"][name] = f"exported with {weights} weights"
        elif problem != NO_TIME:
            results.setdefault("problems", []).append(f"{name} was not exported")


def _export_one(name: str, check: Check) -> str:
    """Export a network, and return the problem; empty if there is none."""
    made = check.scratch / "exports"  # an export that is ended must leave nothing among the bundles
    command = [sys.executable, "-m", "convscope.exporter", "export", name, *EXPORTS[name]]
    command += ["--repository", str(made), "--version", "1", "--quiet"]
    if check.left() <= 0:
        return NO_TIME
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **THREADS},
            capture_output=True,
            text=True,
            timeout=check.left(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return NO_TIME
    if done.returncode != 0:
        return (done.stderr or done.stdout).strip()[-600:]
    (made / name).rename(check.repository / name)
    return ""
