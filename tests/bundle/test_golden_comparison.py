"""What the golden gate allows a provider that computes in a reduced precision."""

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden import Golden
from convscope.bundle.golden_comparison import REDUCED_ALLOWANCE, compare_probabilities
from convscope.v1 import manifest_pb2 as pb

MANIFEST = pb.ModelManifest(
    labels=["cat", "dog", "cow"], golden=pb.GoldenGate(inputs=1, probability_tolerance=0.03)
)


def compared(reference: list[float], found: list[float], allowance: float) -> float:
    def row(values: list[float]) -> NDArray[np.float32]:
        return np.array([values], np.float32)

    golden = Golden((), row(reference), {})
    return compare_probabilities(row(found), golden, MANIFEST, allowance=allowance)


def test_a_reduced_precision_may_change_probabilities_more_but_not_without_limit() -> None:
    clear = [0.7, 0.2, 0.1]
    with pytest.raises(BundleRejectedError, match=r"differs by 0.0500; at most 0.0300"):
        compared(clear, [0.65, 0.25, 0.1], 0.0)
    assert compared(clear, [0.65, 0.25, 0.1], REDUCED_ALLOWANCE) == pytest.approx(0.05)
    with pytest.raises(BundleRejectedError, match=r"differs by 0.0700; at most 0.0600 is allowed"):
        compared(clear, [0.63, 0.27, 0.1], REDUCED_ALLOWANCE)


def test_another_best_class_is_allowed_only_where_the_reference_is_unsure() -> None:
    unsure, swapped = [0.46, 0.44, 0.1], [0.44, 0.46, 0.1]
    assert compared(unsure, swapped, REDUCED_ALLOWANCE) == pytest.approx(0.02, abs=1e-6)
    with pytest.raises(BundleRejectedError, match="is 'dog' here and was 'cat' in the reference"):
        compared(unsure, swapped, 0.0)
    with pytest.raises(BundleRejectedError, match="is 'dog' here and was 'cat' in the reference"):
        compared([0.52, 0.4, 0.08], [0.46, 0.46 + 1e-3, 0.08], REDUCED_ALLOWANCE)


def test_independent_classes_must_be_named_alike_where_the_reference_is_clear() -> None:
    def compare(reference: list[float], found: list[float], tolerance: float) -> float:
        golden = Golden((), np.array([reference], np.float32), {})
        manifest = pb.ModelManifest(
            labels=["cat", "dog", "cow"],
            activation=pb.ACTIVATION_SIGMOID,
            golden=pb.GoldenGate(inputs=1, probability_tolerance=tolerance),
        )
        return compare_probabilities(np.array([found], np.float32), golden, manifest)

    # The best of several probable classes is no result of its own.
    assert compare([0.98, 0.97, 0.1], [0.96, 0.98, 0.1], 0.03) == pytest.approx(0.02, abs=1e-6)
    # One that is as probable as not may be turned by any difference.
    assert compare([0.98, 0.501, 0.1], [0.98, 0.499, 0.1], 0.03) == pytest.approx(0.002, abs=1e-6)
    with pytest.raises(BundleRejectedError, match="is 'cat' here and was 'cat' and 'dog' in the"):
        compare([0.98, 0.56, 0.1], [0.98, 0.44, 0.1], 0.2)
    with pytest.raises(BundleRejectedError, match="is of no class here and was 'dog' in the"):
        compare([0.1, 0.56, 0.1], [0.1, 0.44, 0.1], 0.2)
