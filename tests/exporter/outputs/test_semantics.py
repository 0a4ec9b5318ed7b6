"""Whether a tensor is the argument of a final activation."""

import numpy as np
import pytest

from convscope.exporter.outputs.semantics import Semantics


def test_another_tensor_is_no_argument_although_all_probabilities_are_small() -> None:
    classes = 20_000
    scores = np.random.default_rng(0).normal(0, 0.1, (3, classes)).astype(np.float32)
    semantics = Semantics(classes, "probabilities", "softmax")
    returned = Semantics(classes).probabilities(scores)
    assert returned.max() < 1e-4
    assert semantics.has_argument(scores, returned)
    assert not semantics.has_argument(np.exp(scores), returned)


@pytest.mark.parametrize("limit", [0, 1e-7])
def test_the_argument_of_probabilities_with_a_least_value_is_accepted(limit: float) -> None:
    scores = np.random.default_rng(0).normal(0, 9, (3, 1000)).astype(np.float32)
    returned = np.maximum(Semantics(1000).probabilities(scores), np.float32(limit))
    assert Semantics(1000, "probabilities", "softmax").has_argument(scores, returned)
