"""The heat behind an index over several axes, as PyTorch exports it."""

import numpy as np
import pytest
from support.heads import CLASSES, Case, Node, channel_weights, classifier, images, random_values

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.attach import attach
from convscope.exporter.explanations.running import HeatRunner
from convscope.exporter.graphs.static_graph import static_graph

TARGETS = (-1, 0)


def index(source: str, target: str) -> list[Node]:
    """Return the nodes of x[:, :, rows, columns]."""
    return [
        ("Transpose", [source], [f"{target}/t"], {"perm": [2, 3, 0, 1]}),
        ("GatherND", [f"{target}/t", "cells"], [f"{target}/g"], {}),
        ("Transpose", [f"{target}/g"], [target], {"perm": [2, 3, 0, 1]}),
    ]


def test_indices_of_two_tensors_of_different_sizes_may_be_one_constant() -> None:
    """The same row and column is another cell of a smaller tensor."""
    nodes: list[Node] = [
        ("Mul", ["x", "map"], ["m"], {}),  # so that the positions matter for the mean
        ("MaxPool", ["m"], ["small"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        *index("m", "large/cells"),
        *index("small", "small/cells"),
        ("Sub", ["large/cells", "small/cells"], ["y"], {}),
    ]
    cells = [[[1, 2], [0, 1]], [[0, 0], [1, 1]]]
    case = Case(nodes, {"cells": cells, "map": random_values(1, 1, 5, 6)})
    model = classifier(case)
    explanation = attach(model, static_graph(model), CLASSES)
    run = HeatRunner(model.SerializeToString(), explanation).run(images(), TARGETS)
    expected = channel_weights(case, run.tensor, run.classes)
    np.testing.assert_allclose(run.weights, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_matrix_that_would_need_much_memory_is_rejected() -> None:
    nodes: list[Node] = [("Pad", ["x", "pads"], ["wide"], {}), *index("wide", "y")]
    cells = np.zeros((150, 100, 2), np.int64)
    case = Case(nodes, {"cells": cells, "pads": [0, 0, 0, 0, 0, 0, 15, 14]})
    model = classifier(case)
    with pytest.raises(ExplanationError, match="takes 15000 of 400 cells, too many"):
        attach(model, static_graph(model), CLASSES)
