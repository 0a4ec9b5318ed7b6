from pathlib import Path
from typing import Any

import numpy as np
import onnx
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


def node(kind: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, names[:-1], names[-1:], **attributes)


ENDS = {
    "softmax by hand": [
        node("Exp", "scores", "powers"),
        node("ReduceSum", "powers", "one", "sum"),
        node("Div", "powers", "sum", "answer"),
    ],
    "shifted softmax by hand": [
        node("ReduceMax", "scores", "largest", axes=[1]),
        node("Sub", "scores", "largest", "shifted"),
        node("Exp", "shifted", "powers"),
        node("ReduceSum", "powers", "one", "sum"),
        node("Div", "powers", "sum", "answer"),
    ],
    "softmax of planes": [
        node("Reshape", "scores", "planes_shape", "planes"),
        node("Softmax", "planes", "soft", axis=1),
        node("Flatten", "soft", "answer"),
    ],
    "limited softmax": [
        node("Softmax", "scores", "soft", axis=1),
        node("Clip", "soft", "least", "answer"),
    ],
    "log of softmax": [node("Softmax", "scores", "soft", axis=1), node("Log", "soft", "answer")],
    "minus logsumexp": [
        node("ReduceLogSumExp", "scores", "total", axes=[1]),
        node("Sub", "scores", "total", "answer"),
    ],
    "sigmoid by hand": [
        node("Neg", "scores", "negative"),
        node("Exp", "negative", "power"),
        node("Add", "power", "unit", "divisor"),
        node("Div", "unit", "divisor", "answer"),
    ],
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_logits_are_the_argument_of_the_activation(
    tmp_path: Path, end: list[onnx.NodeProto]
) -> None:
    foreign = Foreign(ends_in=None)
    foreign.weights["dense"] *= 0.1
    values = (some_images() / 255).astype(np.float32).transpose(0, 3, 1, 2)
    scores = np.concatenate(reference(foreign, values))
    foreign.nodes += end
    foreign.weights |= {
        "one": np.array([1]),
        "unit": np.array(1, np.float32),
        "least": np.array(1e-7, np.float32),
        "planes_shape": np.array([1, 5, 1, 1]),
    }
    foreign.output = "answer"
    imported = import_model(source(foreign.write(tmp_path)), tmp_path)
    outputs = run_bundle(imported.directory, some_images())
    np.testing.assert_allclose(outputs["logits"], scores, atol=1e-4)
    assert "warning" not in imported.explanation
