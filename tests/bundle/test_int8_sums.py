"""Whether INT8 sums are exact is measured, by sums that saturate on a CPU without VNNI."""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from convscope.bundle.int8_sums import sums_are_exact

Feed = Mapping[str, NDArray[np.generic]]
INT16 = np.iinfo(np.int16)


def reference(graph: bytes, feed: Feed) -> NDArray[np.int32]:
    model = onnx.load_model_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    (sums,) = ReferenceEvaluator(model).run(None, dict(feed))
    return np.asarray(sums, np.int32)


def saturating(graph: bytes, feed: Feed) -> NDArray[np.int64]:
    """Add pairs of products in 16 bits, as `vpmaddubsw` does."""
    products = feed["a"].astype(np.int64)[:, :, np.newaxis] * feed["b"].astype(np.int64)
    pairs = products[:, 0::2] + products[:, 1::2]
    return np.asarray(np.clip(pairs, INT16.min, INT16.max).sum(axis=1), np.int64)


def test_exact_sums_are_told_from_saturated_ones() -> None:
    assert sums_are_exact(reference)
    assert not sums_are_exact(saturating)
