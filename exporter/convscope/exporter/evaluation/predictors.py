"""What is evaluated: a bundle in this process, or a model of a running server."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.bundles.reader import open_bundle, open_unexplained, preprocess
from convscope.exporter.errors import ExporterError, ImageError
from convscope.exporter.evaluation.inputs import Sample
from convscope.exporter.graphs.sessions import run_session
from convscope.v1 import manifest_pb2 as pb

__all__ = ["BundlePredictor", "Predictor", "Probabilities", "check_classifies"]

DECODERS = 4

Probabilities = NDArray[np.float32] | str
"""The probability of each class, float32 [K], or the reason why there are none."""


class Predictor(Protocol):
    """Returns the probabilities of all classes for labeled inputs."""

    @property
    def manifest(self) -> pb.ModelManifest:
        """The model's manifest."""

    @property
    def runs_on(self) -> str:
        """What computes the probabilities."""

    def predict(self, samples: Sequence[Sample]) -> list[Probabilities]:
        """Classify a batch; return one result for each sample.

        Raises:
            ExporterError: The batch as a whole failed.
        """


class BundlePredictor:
    """A bundle that ONNX Runtime runs on the CPU, with the reference preprocessing.

    Args:
        directory: The bundle's directory.

    Raises:
        BundleRejectedError: The bundle is damaged.
        ExporterError: It has no classes, or ONNX Runtime can't open its graph.
    """

    runs_on = "ONNX Runtime on the CPU"

    def __init__(self, directory: Path) -> None:
        bundle = open_bundle(directory)
        self.manifest = bundle.manifest
        check_classifies(self.manifest)
        self._session = open_unexplained(bundle)
        self._pool = ThreadPoolExecutor(DECODERS)

    def predict(self, samples: Sequence[Sample]) -> list[Probabilities]:
        """Classify a batch; return one result for each sample."""
        found: list[Any] = list(self._pool.map(self._prepare, samples))
        ready = [index for index, one in enumerate(found) if not isinstance(one, str)]
        if ready:
            batch = np.stack([found[index] for index in ready])
            (rows,) = run_session(self._session, self.manifest.input.name, batch, ["probabilities"])
            for index, row in zip(ready, rows, strict=True):
                found[index] = row
        return found

    def _prepare(self, sample: Sample) -> NDArray[Any] | str:
        if sample.encoded is None:
            return self._tensor(sample)
        if self.manifest.input.kind != pb.INPUT_KIND_IMAGE:
            raise ExporterError(
                f"{self.manifest.model} takes tensors {list(self.manifest.input.shape)}, but the "
                "dataset has images; pass arrays with --dataset npz:FILE"
            )
        try:
            return preprocess(self.manifest, sample.encoded)
        except ImageError as error:
            return f"can't be read as an image: {error}"

    def _tensor(self, sample: Sample) -> NDArray[Any]:
        expected = list(self.manifest.input.shape)
        if sample.tensor is None or list(sample.tensor.shape) != expected:
            raise ExporterError(
                f"{sample.name} of the dataset isn't a tensor {expected}, which "
                f"{self.manifest.model} takes"
            )
        return sample.tensor


def check_classifies(manifest: pb.ModelManifest) -> None:
    """Check that a model has classes.

    Raises:
        ExporterError: It doesn't.
    """
    if manifest.task != pb.TASK_CLASSIFICATION:
        raise ExporterError(
            f"{manifest.model} v{manifest.version} has no classes, so it can't be evaluated"
        )
