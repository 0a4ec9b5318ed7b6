"""The repositories that are served: the demo's bundles and variants of them."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.context import BASE, ROOT, Bench
from bench.errors import BenchError
from convscope.exporter.explanations.removal import remove_explanation

__all__ = ["LITE0", "alone", "bundle", "plain_graph", "repository", "with_plain_copy"]

LITE0 = "efficientnet_lite0"
# Networks with random weights, which are made for the bench.
MADE = ("mobilenet_v2", "resnet50", "vgg11")
MAKE_SECONDS = 600


def bundle(bench: Bench, model: str) -> Path:
    """Return the directory of version 1 of a model, which is made if necessary.

    Raises:
        BenchError: The bundle is missing and can't be made.
    """
    if model in MADE:
        root = bench.cache / "networks"
        if not (root / model / "1" / "manifest.json").exists():
            _run([sys.executable, "-m", "bench.make_network", model, str(root)])
        return root / model / "1"
    directory = BASE / model / "1"
    if not (directory / "manifest.json").exists():
        raise BenchError(
            f"models/{model}/1 is missing; make it with: make {directory}/manifest.json"
        )
    return directory


def repository(bench: Bench, *models: str) -> Path:
    """Make a repository of exactly these models and return its path."""
    root = bench.scratch / f"repository-{'-'.join(models)}"
    for model in models:
        if not (root / model).exists():
            shutil.copytree(bundle(bench, model), root / model / "1")
    return root


def with_plain_copy(bench: Bench, model: str) -> tuple[Path, str]:
    """Make a repository of a model and its copy without feature maps.

    Returns:
        The path of the repository and the name of the copy.
    """
    root = bench.scratch / f"pair-{model}"
    plain = f"{model}_plain"
    if not root.exists():
        shutil.copytree(bundle(bench, model), root / model / "1")
        _write_plain(bundle(bench, model), root / plain / "1", plain)
    return root, plain


def alone(bench: Bench, model: str) -> Path:
    """Make a repository of one model without feature maps, under its usual name."""
    root = bench.scratch / f"alone-{model}"
    if not root.exists():
        _write_plain(bundle(bench, model), root / model / "1", model)
    return root


def plain_graph(bench: Bench, model: str) -> Path:
    """Return the path of a model's graph with the probabilities as its only output.

    A program that needs only the classes would run this graph.
    """
    path = bench.scratch / f"{model}.onnx"
    if not path.exists():
        _write_graph(bundle(bench, model) / "model.onnx", path, {"probabilities"})
    return path


def _write_graph(source: Path, target: Path, outputs: set[str]) -> None:
    graph = onnx.load(source)
    remove_explanation(graph)
    kept = [value for value in graph.graph.output if value.name in outputs]
    del graph.graph.output[:]
    graph.graph.output.extend(kept)
    onnx.save(graph, target)


def _write_plain(source: Path, target: Path, model: str) -> None:
    target.mkdir(parents=True)
    manifest: dict[str, Any] = json.loads((source / "manifest.json").read_text())
    _write_graph(source / "model.onnx", target / "model.onnx", {"logits", "probabilities"})
    with np.load(source / "golden.npz") as golden:
        kept = {k: golden[k] for k in golden.files if not k.startswith(("feature_map", "heat"))}
    np.savez(target / "golden.npz", allow_pickle=False, **kept)
    manifest.pop("feature_maps", None)
    manifest.pop("explanation", None)
    manifest["schema_version"] = 1
    manifest["model"] = model
    manifest["files"] = [_file_entry(target / file["name"]) for file in manifest["files"]]
    (target / "manifest.json").write_text(json.dumps(manifest, indent=2))


def _file_entry(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    return {
        "name": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": str(len(data)),
    }


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"{command[2]} failed: {done.stderr.strip()[-500:]}")
