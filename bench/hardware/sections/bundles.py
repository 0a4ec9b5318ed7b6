"""Prepares the bundles: those of a folder, or those of the checkout and exports."""

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.context import BASE, ROOT
from bench.hardware.check import Check, Results

__all__ = ["run"]

# By model, what `convscope-exporter export` gets besides the name.
EXPORTS: Mapping[str, tuple[str, ...]] = {
    "digits": ("--random-weights",),
    "efficientnet_lite0": (),
    "leung_malik": (),
    "signal_conv": ("--random-weights", "--input", "1x256"),
    "clip_conv": ("--random-weights", "--input", "3x8x32x32"),
    "resnet50": ("--random-weights",),
    "vgg16": ("--random-weights",),
}


@dataclass(frozen=True, slots=True)
class _Export:
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    began: float
    weights: str


def run(check: Check, results: Results) -> None:
    """Copy what exists, export the rest, and report where each bundle is from."""
    check.repository.mkdir(exist_ok=True)
    results["bundles"] = origins = {}
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
    """Export networks in processes side by side, and keep those that are ready in time."""
    if importlib.util.find_spec("torch") is None:
        results["not_exported"] = dict.fromkeys(names, "PyTorch is not installed")
        return
    exports = {name: _start(name, check) for name in names}
    try:
        for name, export in exports.items():
            _finish(name, export, check, results)
    finally:
        for export in exports.values():
            if export.process.poll() is None:
                export.process.kill()
                export.process.wait()
            export.log.close()


def _start(name: str, check: Check) -> _Export:
    log = (check.scratch / f"export-{name}.log").open("w+b")
    command = [sys.executable, "-m", "convscope.exporter", "export", name, *EXPORTS[name]]
    command += ["--repository", str(check.repository), "--version", "1", "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    random = "--random-weights" in EXPORTS[name]
    return _Export(process, log, time.monotonic(), "random" if random else "its own")


def _finish(name: str, export: _Export, check: Check, results: Results) -> None:
    try:
        code = export.process.wait(check.left())
    except subprocess.TimeoutExpired:
        results.setdefault("not_exported", {})[name] = "the time was too short"
        return
    if code == 0:
        seconds = round(time.monotonic() - export.began, 1)
        results["bundles"][name] = f"exported with {export.weights} weights in at most {seconds} s"
        return
    export.log.seek(0)
    reason = export.log.read().decode(errors="replace").strip()[-600:]
    results.setdefault("not_exported", {})[name] = reason
    results.setdefault("problems", []).append(f"{name} was not exported")
