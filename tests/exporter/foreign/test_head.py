from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.foreign_models import Foreign, reference, run_bundle, some_images, source

from convscope.exporter.errors import UnclearOutputError
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


@pytest.mark.parametrize("ends_in", ["Softmax", "Sigmoid", "LogSoftmax"])
def test_half_precision_keeps_the_argument(tmp_path: Path, ends_in: str) -> None:
    foreign = Foreign(ends_in=ends_in, element=TensorProto.FLOAT16)
    imported = import_model(source(foreign.write(tmp_path)), tmp_path)
    values = (some_images() / 255).astype(np.float16).transpose(0, 3, 1, 2)
    foreign.nodes, foreign.output = foreign.nodes[:5], "scores"
    scores = np.concatenate(reference(foreign, values)).astype(np.float32)
    found = run_bundle(imported.directory, some_images())["logits"]
    np.testing.assert_allclose(found, scores, atol=5e-2)
    assert "'model/pool' is float16; derivatives need float32" in imported.explanation


def test_masked_classes_have_finite_logits(tmp_path: Path) -> None:
    foreign = Foreign(ends_in=None)
    foreign.nodes += [
        node("Add", "scores", "mask", "masked"),
        node("Softmax", "masked", "answer", axis=1),
    ]
    foreign.weights["mask"] = np.array([0, 0, 0, 0, -np.inf], np.float32)
    foreign.output = "answer"
    imported = import_model(source(foreign.write(tmp_path)), tmp_path)
    outputs = run_bundle(imported.directory, some_images())
    assert not outputs["probabilities"][:, 4].any()
    np.testing.assert_allclose(softmax(outputs["logits"]), outputs["probabilities"], atol=1e-6)


def test_limits_that_change_the_sum_leave_the_choice_to_the_user(tmp_path: Path) -> None:
    foreign = Foreign(ends_in=None)
    foreign.nodes += [
        node("Softmax", "scores", "soft", axis=1),
        node("Clip", "soft", "least", "most", "answer"),
    ]
    foreign.weights |= {"least": np.array(0.05, np.float32), "most": np.array(0.9, np.float32)}
    foreign.output = "answer"
    path = foreign.write(tmp_path)
    with pytest.raises(UnclearOutputError, match="--activation"):
        import_model(source(path), tmp_path)
    imported = import_model(source(path, activation="none"), tmp_path)
    values = (some_images() / 255).astype(np.float32).transpose(0, 3, 1, 2)
    expected = np.concatenate(reference(foreign, values))
    found = run_bundle(imported.directory, some_images())["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_inputs_with_non_finite_results_do_not_hide_the_argument(tmp_path: Path) -> None:
    foreign = Foreign()  # black images are divided by zero
    foreign.nodes.insert(0, node("ReduceMax", "x", "brightest", axes=[1, 2, 3]))
    foreign.nodes.insert(1, node("Div", "x", "brightest", "bright"))
    foreign.nodes[2].input[0] = "bright"
    options = {"allow_nonfinite": True, "mean": (0, 0, 0), "std": (1, 1, 1)}
    imported = import_model(source(foreign.write(tmp_path), **options), tmp_path)
    assert "warning" not in imported.explanation
    values = (some_images() / 255).astype(np.float32).transpose(0, 3, 1, 2)
    foreign.nodes, foreign.output = foreign.nodes[:7], "scores"
    scores = np.concatenate(reference(foreign, values))
    found = run_bundle(imported.directory, some_images())["logits"]
    np.testing.assert_allclose(found, scores, atol=1e-4)
