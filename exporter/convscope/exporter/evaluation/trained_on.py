"""What a model was trained on, as its bundle and its training run record it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from convscope.exporter.errors import RunError
from convscope.exporter.evaluation.run_files import TrainingRun, read_run
from convscope.v1 import manifest_pb2 as pb

__all__ = ["TrainedOn", "check_run", "trained_on"]

# In the description of trained weights.
_SEED = re.compile(r"\bseed (\d+)")
_DIGEST = re.compile(r"\bdataset digest ([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """What a model was trained on.

    Args:
        title: The model and its version.
        datasets: The names of its datasets.
        seed: The seed of the split.
        digest: The digest of the splits of its last dataset; None if the bundle has none.
        seen: The hashes of its training and validation inputs; None if no run records them.
    """

    title: str
    datasets: tuple[str, ...]
    seed: int = 0
    digest: str | None = None
    seen: frozenset[str] | None = None

    def shares_kind(self, name: str) -> bool:
        """Return whether a dataset has the form of a user's dataset in the training."""
        kind, separator, _ = name.partition(":")
        return bool(separator) and any(one.startswith(f"{kind}:") for one in self.datasets)


def trained_on(manifest: pb.ModelManifest, runs: Iterable[Path]) -> TrainedOn:
    """Return what a model was trained on.

    Args:
        manifest: The model's manifest.
        runs: Folders that may hold the model's training run as MODEL/NUMBER, or are the run.
    """
    provenance = manifest.provenance
    seeds, digests = _SEED.findall(provenance.weights), _DIGEST.findall(provenance.weights)
    digest = digests[-1] if digests else None
    return TrainedOn(
        f"{manifest.model} v{manifest.version}",
        tuple(filter(None, provenance.dataset.split(", "))),
        int(seeds[-1]) if seeds else 0,
        digest,
        None if digest is None else _seen(manifest, digest, runs),
    )


def check_run(directory: Path, manifest: pb.ModelManifest) -> TrainingRun:
    """Read a run, and check that it published this model.

    Raises:
        RunError: The folder isn't a training run, or the run published something else.
    """
    run = read_run(directory)
    if not run.settings:
        raise RunError(
            f"{directory} is not a training run; name a folder like runs/MODEL/NUMBER with a "
            "run.json"
        )
    model, version = run.settings.get("model"), run.settings.get("published_version")
    if (model, version) != (manifest.model, manifest.version):
        published = "has published nothing" if version is None else f"published {model} v{version}"
        raise RunError(
            f"the run {directory} {published}, but the evaluated model is {manifest.model} "
            f"v{manifest.version}; pass the run of this version"
        )
    return run


def _seen(manifest: pb.ModelManifest, digest: str, runs: Iterable[Path]) -> frozenset[str] | None:
    for directory in _run_directories(manifest.model, runs):
        if read_run(directory).settings.get("dataset_digest") == digest:
            try:
                return frozenset((directory / "training_inputs.txt").read_text().split())
            except (OSError, ValueError):
                continue
    return None


def _run_directories(model: str, runs: Iterable[Path]) -> Iterator[Path]:
    for folder in runs:
        if (folder / "run.json").is_file():
            yield folder
        yield from sorted((folder / model).glob("*/"))
