"""The golden gate: a version must reproduce PyTorch's outputs for its golden inputs.

The inputs take the same path as those of a request, from the encoded bytes through
this server's decoder to the provider that will serve them. Any difference between
training and serving is found before the first request.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.errors import reason_of
from convscope.bundle.golden_comparison import (
    REDUCED_ALLOWANCE,
    compare_feature_maps,
    compare_heat,
    compare_probabilities,
)
from convscope.bundle.reader import Bundle
from convscope.server.errors import (
    BundleRejectedError,
    InvalidInputError,
    ServingError,
    translate_bundle_errors,
)
from convscope.server.runtime.explained import BEST, ExplainedSession
from convscope.server.runtime.model import Model, ModelOutput
from convscope.server.runtime.providers.policy import REDUCED
from convscope.server.runtime.versions import ImagePreprocessor
from convscope.v1 import manifest_pb2 as pb

__all__ = ["GoldenGate"]


class GoldenGate:
    """Replays the golden inputs of one bundle, which are decoded once.

    Args:
        bundle: Contains the golden inputs and outputs.
        preprocessor: Converts an encoded image; None for tensor inputs.

    Raises:
        BundleRejectedError: The golden file isn't complete, or an input can't be decoded.
    """

    def __init__(self, bundle: Bundle, preprocessor: ImagePreprocessor | None) -> None:
        self.manifest = bundle.manifest
        with translate_bundle_errors():
            self._golden = bundle.read_golden()
        self._inputs = [
            _decode(one, index, preprocessor)[np.newaxis]
            for index, one in enumerate(self._golden.inputs)
        ]

    def check(self, model: Model, *, feature_maps: bool) -> None:
        """Compare the outputs with PyTorch's.

        The plain session, which serves most requests, is run in any case; its precision may
        differ from that of the session with feature maps.

        Args:
            model: The version, on the provider that will serve it.
            feature_maps: Whether to compare the feature maps too.

        Raises:
            BundleRejectedError: An output isn't finite or differs by more than the manifest
                allows, with an allowance for a precision below FP32.
        """
        manifest = self.manifest
        if self.has_classes:
            reduced = model.compute_precision in REDUCED
            self._check_classes(self._replay(model), REDUCED_ALLOWANCE if reduced else 0.0)
        if feature_maps:
            names = tuple(spec.name for spec in manifest.feature_maps)
            outputs = self._replay(model, names)
            if self.has_classes:
                self._check_classes(outputs, 0.0)
            with translate_bundle_errors():
                maps = {name: _maps(outputs, name) for name in names}
                compare_feature_maps(maps, self._golden, manifest)

    def _replay(self, model: Model, feature_maps: Sequence[str] = ()) -> list[ModelOutput]:
        with _translate_run_errors():
            return [model.run(one, feature_maps=feature_maps) for one in self._inputs]

    def _check_classes(self, outputs: Sequence[ModelOutput], allowance: float) -> None:
        found = np.concatenate([output.probabilities for output in outputs])  # [n, K]
        with translate_bundle_errors():
            compare_probabilities(found, self._golden, self.manifest, allowance=allowance)

    @property
    def has_classes(self) -> bool:
        """Whether the version has classes, and not only feature maps."""
        return self.manifest.task == pb.TASK_CLASSIFICATION

    @property
    def size(self) -> int:
        """The number of golden inputs."""
        return len(self._inputs)

    def batch(self, size: int) -> NDArray[np.generic]:
        """Return a batch of the first golden input."""
        return np.repeat(self._inputs[0], size, axis=0)

    def check_heat(self, session: ExplainedSession) -> None:
        """Compare the heat of the best classes with the reference.

        Args:
            session: The session with explanations, on the provider that will serve it.

        Raises:
            BundleRejectedError: The heat isn't finite, or differs too much.
        """
        best = np.full((1, 1), BEST, np.int64)
        with _translate_run_errors():
            heats = [session.run(one, best)[2] for one in self._inputs]
        with translate_bundle_errors():
            compare_heat(np.concatenate([heat.values[:, 0] for heat in heats]), self._golden)


@contextmanager
def _translate_run_errors() -> Iterator[None]:
    """Reject the bundle if its graph fails; the errors of ONNX Runtime have no common base."""
    try:
        yield
    except (ServingError, MemoryError):
        raise
    except Exception as error:
        raise BundleRejectedError(
            "golden", f"the graph fails for a golden input: {reason_of(error)}"
        ) from error


def _decode(
    stored: NDArray[np.generic], index: int, preprocessor: ImagePreprocessor | None
) -> NDArray[np.generic]:
    """Bring a golden input to the graph's input, without the batch."""
    if preprocessor is None:
        return stored
    try:
        return preprocessor.decode(stored.tobytes())
    except InvalidInputError as error:
        raise BundleRejectedError(
            "golden", f"golden input {index} can't be decoded: {error}"
        ) from error


def _maps(outputs: list[ModelOutput], name: str) -> NDArray[np.float32]:
    return np.concatenate([output.feature_maps[name] for output in outputs])  # [n, C, H, W]
