"""Compares a model's outputs for the golden inputs with the reference outputs."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.clear_results import (
    CLEAR_MARGIN,
    has_independent_classes,
    margins,
    named_classes,
)
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
            one, or if the classes are independent, the named classes need only be the same where
            the reference is clear.

    Returns:
        The largest difference.

    Raises:
        BundleRejectedError: They aren't finite, they name other classes, or they differ by more
            than the manifest allows.
    """
    if golden.probabilities is None:
        return 0.0
    expected = golden.probabilities
    _check_comparable("probabilities", found, expected)
    independent = has_independent_classes(manifest)
    ours, theirs = (named_classes(one, independent=independent) for one in (found, expected))
    # Where the reference is not clear, a reduced precision may name another class. An independent
    # one may be so close to the threshold that any difference turns it.
    is_unclear = margins(expected, independent=independent) < CLEAR_MARGIN
    is_wrong = (ours != theirs).any(axis=-1) & ~(is_unclear & (bool(allowance) or independent))
    if is_wrong.any():
        index = int(is_wrong.argmax())
        here, before = (_names(one[index], manifest) for one in (ours, theirs))
        raise BundleRejectedError(
            "golden", f"golden input {index} is {here} here and was {before} in the reference"
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


def _names(named: NDArray[np.bool_], manifest: pb.ModelManifest) -> str:
    """Return the names of the classes that a result names, [K]."""
    shown = [repr(manifest.labels[index]) for index in np.flatnonzero(named)]
    return " and ".join(shown) or "of no class"


def _check_comparable(name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    if found.shape != expected.shape:
        raise BundleRejectedError(
            "golden",
            f"the graph returns {list(found.shape)} for {name!r}, the golden file has "
            f"{list(expected.shape)}",
        )
    if not np.isfinite(found).all():
        raise BundleRejectedError("golden", f"the graph's output {name!r} is not finite")
