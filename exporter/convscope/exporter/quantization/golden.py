"""The golden gate of a quantized version: the outputs in FP32, and how far it may differ from them.

The reference stays the one of PyTorch or of the original graph. The stated tolerance is that of
the parent, for another decoder or provider, and the change by the quantization, which is measured.
"""

import math
from io import BytesIO

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden import HEAT
from convscope.bundle.golden_comparison import (
    FEATURE_MAP_TOLERANCE,
    compare_feature_maps,
    compare_probabilities,
)
from convscope.bundle.layout import GOLDEN
from convscope.bundle.reader import Bundle
from convscope.exporter.bundles.golden_inputs import golden_inputs
from convscope.exporter.graphs.sessions import open_graph, run_each
from convscope.v1 import manifest_pb2 as pb

__all__ = ["GoldenGate"]

# A larger change isn't a matter of rounding.
MAX_CHANGE = 0.2
_STEPS = 100  # tolerances are stated in hundredths


class GoldenGate:
    """Compares quantized graphs with the golden outputs, as a server will.

    Args:
        bundle: The parent.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._golden = bundle.read_golden()
        self.inputs = golden_inputs(self._golden, bundle.manifest)

    def problem(self, model: onnx.ModelProto) -> str | None:
        """Return why a server would reject a graph; None if it wouldn't."""
        limits = pb.GoldenGate(probability_tolerance=MAX_CHANGE, feature_map_tolerance=MAX_CHANGE)
        try:
            self._changes(model, limits)
        except BundleRejectedError as error:
            return error.message
        return None

    def state_tolerances(self, model: onnx.ModelProto, manifest: pb.ModelManifest) -> None:
        """Write the tolerances into the manifest of a graph that has no problem."""
        own = self._bundle.manifest.golden
        limits = pb.GoldenGate(probability_tolerance=MAX_CHANGE, feature_map_tolerance=MAX_CHANGE)
        probability, maps = self._changes(model, limits)
        stated = manifest.golden
        if self._golden.probabilities is not None:
            stated.probability_tolerance = _rounded_up(own.probability_tolerance + probability)
        if self._golden.feature_map_means:
            usual = own.feature_map_tolerance or FEATURE_MAP_TOLERANCE
            stated.feature_map_tolerance = _rounded_up(usual + maps)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the parent's golden arrays without the heat."""
        with np.load(BytesIO(self._bundle.read_file(GOLDEN)), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if name != HEAT}

    def _changes(self, model: onnx.ModelProto, limits: pb.GoldenGate) -> tuple[float, float]:
        """Return the largest change of a probability, and of a channel mean of a feature map.

        Raises:
            BundleRejectedError: A best class changes, or one of them exceeds the limits.
        """
        allowed = pb.ModelManifest()
        allowed.CopyFrom(self._bundle.manifest)
        allowed.golden.MergeFrom(limits)
        found = run_each(open_graph(model.SerializeToString()), self.inputs)
        maps = {name: found[name] for name in self._golden.feature_map_means}
        change = 0.0
        if "probabilities" in found:  # a filter bank has none
            change = compare_probabilities(found["probabilities"], self._golden, allowed)
        return change, compare_feature_maps(maps, self._golden, allowed)


def _rounded_up(value: float) -> float:
    return math.ceil(value * _STEPS - 1e-4) / _STEPS
