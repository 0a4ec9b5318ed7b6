"""Compares a model's outputs for the golden inputs with the reference outputs."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.clear_results import CLEAR_MARGIN, margins
from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden import Golden
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "FEATURE_MAP_TOLERANCE",
    "REDUCED_ALLOWANCE",
    "compare_feature_maps",
    "compare_heat",
    "compare_probabilities",
]

# Another decoder, or another order of additions, changes a channel's mean a little.
FEATURE_MAP_TOLERANCE = 0.05
# Single cells vary more than means, and heat is a difference of large terms.
HEAT_TOLERANCE = 0.1
# What BF16 or FP16 may add to the tolerance of probabilities. BF16 adds up to 0.0075 for the golden
# inputs of EfficientNet-Lite0.
REDUCED_ALLOWANCE = 0.03


def compare_probabilities(
    found: NDArray[np.float32],
    golden: Golden,
    manifest: pb.ModelManifest,
    *,
    allowance: float = 0.0,
) -> float:
    """Compare the probabilities of the golden inputs with the reference.

    Args:
        found: The model's probabilities, float32 [n, K].
        golden: The reference.
        manifest: The manifest with the labels and the tolerance.
        allowance: What is added to that tolerance, for a provider with a reduced precision. With
            one, the best class need only be the same where it is clear.

    Returns:
        The largest difference.

    Raises:
        BundleRejectedError: They aren't finite, another class is the best, or
            they differ by more than the manifest allows.
    """
    if golden.probabilities is None:
        return 0.0
    expected = golden.probabilities
    _check_comparable("probabilities", found, expected)
    # Where the reference is not clear, a reduced precision may choose another class.
    is_free = (margins(expected) < CLEAR_MARGIN) & bool(allowance)
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours.argmax() != theirs.argmax() and not is_free[index]:
            labels = (manifest.labels[int(values.argmax())] for values in (ours, theirs))
            raise BundleRejectedError(
                "golden",
                "golden input {} is {!r} here and was {!r} in the reference".format(index, *labels),
            )
    difference = float(np.abs(found - expected).max())
    tolerance = manifest.golden.probability_tolerance + allowance
    if not difference <= tolerance:
        raise BundleRejectedError(
            "golden",
            f"a golden probability differs by {difference:.4f}; at most {tolerance:.4f} is allowed",
        )
    return difference


def compare_feature_maps(
    found: Mapping[str, NDArray[np.float32]], golden: Golden, manifest: pb.ModelManifest
) -> float:
    """Compare the channel means of feature maps with the reference.

    Args:
        found: Feature maps of the golden inputs by name, float32 [n, C, H, W].
        golden: The reference.
        manifest: The manifest with the tolerance, if it isn't the usual one.

    Returns:
        The largest difference, relative to the largest mean of its feature map.

    Raises:
        BundleRejectedError: They aren't finite, or differ too much.
    """
    tolerance = manifest.golden.feature_map_tolerance or FEATURE_MAP_TOLERANCE
    return max(
        (_compare_means(name, maps, golden, tolerance) for name, maps in found.items()),
        default=0.0,
    )


def compare_heat(found: NDArray[np.float32], golden: Golden) -> float:
    """Compare the heat of the best classes with the reference.

    Args:
        found: The heat of the golden inputs, float32 [n, positions...].
        golden: The reference.

    Returns:
        The largest difference, relative to the largest heat.

    Raises:
        BundleRejectedError: It isn't finite, or differs too much.
    """
    if golden.heat is None:
        return 0.0
    _check_comparable("heat", found, golden.heat)
    difference, largest = float(np.abs(found - golden.heat).max()), float(np.abs(golden.heat).max())
    # Not `>`: NaN must not pass.
    if not difference <= HEAT_TOLERANCE * largest:
        raise BundleRejectedError(
            "golden",
            f"the heat of the best class differs by {difference:.4g}; the largest is "
            f"{largest:.4g}, and at most {HEAT_TOLERANCE:.0%} of it is allowed",
        )
    return difference / (largest or 1.0)


def _compare_means(name: str, maps: NDArray[np.float32], golden: Golden, tolerance: float) -> float:
    means = maps.mean(axis=(2, 3))  # [n, channels]
    expected = golden.feature_map_means[name]
    _check_comparable(name, means, expected)
    difference = float(np.abs(means - expected).max())
    largest = float(np.abs(expected).max())
    # Not `>`: NaN must not pass.
    if not difference <= tolerance * largest:
        raise BundleRejectedError(
            "golden",
            f"a channel mean of {name!r} differs by {difference:.4g}; the largest is "
            f"{largest:.4g}, and at most {tolerance:.0%} of it is allowed",
        )
    return difference / (largest or 1.0)


def _check_comparable(name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    if found.shape != expected.shape:
        raise BundleRejectedError(
            "golden",
            f"the graph returns {list(found.shape)} for {name!r}, the golden file has "
            f"{list(expected.shape)}",
        )
    if not np.isfinite(found).all():
        raise BundleRejectedError("golden", f"the graph's output {name!r} is not finite")
