from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from support.foreign_models import Foreign, reference, run_bundle, some_images, source

from convscope.exporter.foreign.importing import import_model
from convscope.exporter.outputs.semantics import ActivationChoice


@pytest.mark.parametrize(
    ("ends_in", "chosen", "activation"),
    [
        ("Softmax", "auto", "softmax"),
        ("Softmax", "none", "softmax"),
        ("Sigmoid", "auto", "sigmoid"),
        ("LogSoftmax", "auto", "softmax"),
        (None, "auto", "softmax"),
        (None, "sigmoid", "sigmoid"),
    ],
)
def test_the_activation_turns_logits_into_probabilities(
    tmp_path: Path, ends_in: str | None, chosen: ActivationChoice, activation: str
) -> None:
    foreign = Foreign(ends_in=ends_in)
    imported = import_model(source(foreign.write(tmp_path), activation=chosen), tmp_path)
    assert imported.semantics.activation == activation
    images = some_images()
    outputs = run_bundle(imported.directory, images)
    logits = outputs["logits"]
    expected = softmax(logits) if activation == "softmax" else 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    values = (images / 255).astype(np.float32).transpose(0, 3, 1, 2)
    output = np.concatenate(reference(foreign, values))
    if ends_in == "LogSoftmax":
        output = np.exp(output)
    name = "probabilities" if ends_in else "logits"
    np.testing.assert_allclose(outputs[name], output, atol=1e-4)
    foreign.nodes, foreign.output = foreign.nodes[:5], "scores"
    scores = np.concatenate(reference(foreign, values))
    np.testing.assert_allclose(logits, scores, atol=1e-4)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def test_probabilities_without_a_visible_activation_become_logits(tmp_path: Path) -> None:
    foreign = Foreign(ends_in=None)
    foreign.nodes += [
        helper.make_node("Exp", ["scores"], ["powers"]),
        helper.make_node("ReduceSum", ["powers", "one"], ["sum"]),
        helper.make_node("Div", ["powers", "sum"], ["answer"]),
    ]
    foreign.weights["one"] = np.array([1])
    foreign.weights["dense"] *= 0.1
    foreign.output = "answer"
    path = foreign.write(tmp_path)
    directory = import_model(source(path), tmp_path).directory
    outputs = run_bundle(directory, some_images())
    np.testing.assert_allclose(softmax(outputs["logits"]), outputs["probabilities"], atol=1e-6)
