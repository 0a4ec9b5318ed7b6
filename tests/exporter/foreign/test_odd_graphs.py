"""Forms of graphs that tools really write are imported, or rejected with a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.foreign_models import (
    CLASSES,
    Foreign,
    manifest_of,
    other_head,
    reference,
    run_bundle,
    some_images,
    source,
)
from typer.testing import CliRunner

from convscope.exporter.bundles.verify import CHECKS, verify
from convscope.exporter.cli import app
from convscope.exporter.errors import ExporterError
from convscope.exporter.foreign.importing import import_model
from convscope.v1 import manifest_pb2 as pb


def answers(foreign: Foreign) -> NDArray[np.float32]:
    values = (some_images() / 255).astype(np.float32).transpose(0, 3, 1, 2)
    return np.stack([one.reshape(-1) for one in reference(foreign, values)])


def probabilities(path: Path, folder: Path) -> NDArray[np.float32]:
    directory = import_model(source(path), folder).directory
    return run_bundle(directory, some_images())["probabilities"]


def one_output(*end: onnx.NodeProto) -> Foreign:
    foreign = Foreign(ends_in=None)
    foreign.weights["dense"] = foreign.weights["dense"][:, :1]
    foreign.nodes += end
    foreign.output = "answer" if end else "scores"
    return foreign


def written_sigmoid(foreign: Foreign) -> Foreign:
    foreign.nodes += [
        helper.make_node("Neg", ["scores"], ["negative"]),
        helper.make_node("Exp", ["negative"], ["power"]),
        helper.make_node("Add", ["power", "one"], ["divisor"]),
        helper.make_node("Div", ["one", "divisor"], ["answer"]),
    ]
    foreign.weights["one"] = np.array([1], np.float32)
    foreign.output = "answer"
    return foreign


def test_a_written_sigmoid_gets_no_second_activation(tmp_path: Path) -> None:
    foreign = written_sigmoid(Foreign(ends_in=None))
    imported = import_model(source(foreign.write(tmp_path)), tmp_path)
    ours = run_bundle(imported.directory, some_images())["probabilities"]
    np.testing.assert_allclose(ours, answers(foreign), atol=1e-5)
    assert manifest_of(imported.directory).activation == pb.ACTIVATION_SIGMOID


SQUEEZE = helper.make_node("Squeeze", ["scores"], ["answer"])


@pytest.mark.parametrize(
    ("foreign", "is_probability"),
    [
        (one_output(), False),
        (one_output(SQUEEZE), False),
        (one_output(helper.make_node("Sigmoid", ["scores"], ["answer"])), True),
        (written_sigmoid(one_output()), True),
    ],
    ids=["logit", "squeezed logit", "sigmoid", "written sigmoid"],
)
def test_one_output_separates_two_classes(
    tmp_path: Path, foreign: Foreign, is_probability: bool
) -> None:
    output = answers(foreign)
    second = output if is_probability else 1 / (1 + np.exp(-output))
    imported = import_model(source(foreign.write(tmp_path)), tmp_path)
    ours = run_bundle(imported.directory, some_images())
    both = np.concatenate([1 - second, second], axis=1)
    np.testing.assert_allclose(ours["probabilities"], both, atol=1e-5)
    if not is_probability:
        np.testing.assert_allclose(ours["logits"], output / 2 * [[-1, 1]], atol=1e-4)


def test_a_grouped_softmax_is_rejected_with_its_groups(tmp_path: Path) -> None:
    foreign = Foreign(ends_in=None)
    foreign.weights["dense"] = np.random.default_rng(0).normal(0, 0.2, (384, 6)).astype("f")
    foreign.weights |= {"split": np.array([-1, 2, 3]), "flat_again": np.array([-1, 6])}
    foreign.nodes += [
        helper.make_node("Reshape", ["scores", "split"], ["groups"]),
        helper.make_node("Softmax", ["groups"], ["each"], axis=-1),
        helper.make_node("Reshape", ["each", "flat_again"], ["answer"]),
    ]
    foreign.output = "answer"
    with pytest.raises(ExporterError, match="the 6 outputs are 2 groups of 3 classes"):
        import_model(source(foreign.write(tmp_path)), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_max_pool_may_return_its_indices(tmp_path: Path) -> None:
    foreign = Foreign()
    foreign.nodes[2].output.append("indices")
    ours = probabilities(foreign.write(tmp_path), tmp_path)
    np.testing.assert_allclose(ours, answers(foreign), atol=1e-5)


def test_optional_outputs_may_be_omitted(tmp_path: Path) -> None:
    foreign = Foreign()
    dropped = helper.make_node("Dropout", ["relu"], ["kept", ""])
    foreign.nodes.insert(2, dropped)
    foreign.nodes[3].input[0] = "kept"
    ours = probabilities(foreign.write(tmp_path), tmp_path)
    np.testing.assert_allclose(ours, answers(foreign), atol=1e-5)


def test_a_batch_of_minus_one_is_dynamic(tmp_path: Path) -> None:
    foreign = Foreign(batch="N")
    model = foreign.model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, tmp_path / "minus.onnx")
    ours = probabilities(tmp_path / "minus.onnx", tmp_path)
    np.testing.assert_allclose(ours, answers(foreign), atol=1e-5)


def custom_vision(foreign: Foreign) -> onnx.ModelProto:
    """Add what Custom Vision writes: the best label, and a map from labels to probabilities."""
    model = foreign.model()
    graph = model.graph
    labels = list("abcde")
    graph.node.extend(
        [
            helper.make_node("ArgMax", ["answer"], ["best"], axis=1, keepdims=0),
            helper.make_node(
                "LabelEncoder",
                ["best"],
                ["classLabel"],
                domain="ai.onnx.ml",
                keys_int64s=range(5),
                values_strings=labels,
            ),
            helper.make_node(
                "ZipMap", ["answer"], ["loss"], domain="ai.onnx.ml", classlabels_strings=labels
            ),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("classLabel", TensorProto.STRING, [None]))
    value = graph.output.add(name="loss")
    probability = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    mapping = helper.make_map_type_proto(TensorProto.STRING, probability)
    value.type.CopyFrom(helper.make_sequence_type_proto(mapping))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return model


def test_a_map_output_becomes_probabilities_with_its_labels(tmp_path: Path) -> None:
    foreign = Foreign()
    onnx.save(custom_vision(foreign), tmp_path / "vision.onnx")
    directory = import_model(source(tmp_path / "vision.onnx"), tmp_path).directory
    assert list(manifest_of(directory).labels) == list("abcde")
    assert [check.name for check in verify(directory)] == list(CHECKS)
    ours = run_bundle(directory, some_images())["probabilities"]
    np.testing.assert_allclose(ours, answers(foreign), atol=1e-5)


def test_one_of_several_outputs_is_chosen_by_name(tmp_path: Path) -> None:
    foreign = Foreign()
    model = foreign.model()
    model.graph.node.append(helper.make_node("Sigmoid", ["scores"], ["second"]))
    model.graph.output.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, None))
    path = tmp_path / "two.onnx"
    onnx.save(model, path)
    with pytest.raises(ExporterError, match="several outputs; choose one with --output"):
        import_model(source(path), tmp_path)
    directory = import_model(source(path, output="second"), tmp_path).directory
    ours = run_bundle(directory, some_images())
    expected = 1 / (1 + np.exp(-ours["logits"]))
    np.testing.assert_allclose(ours["probabilities"], expected, atol=1e-5)
    assert ours["probabilities"].shape == (3, CLASSES)


def test_a_failed_analysis_of_feature_maps_does_not_stop_an_import(tmp_path: Path) -> None:
    """The shapes behind a Loop can't be inferred."""
    foreign = other_head("Identity")
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("Relu", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    foreign.weights |= {"steps": np.array(2), "always": np.array(True)}
    foreign.nodes.insert(
        1, helper.make_node("Loop", ["steps", "always", "stem"], ["looped"], body=body)
    )
    foreign.nodes[2].input[0] = "looped"
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    assert run_bundle(directory, some_images())["probabilities"].shape == (3, CLASSES)


def batch_norm_in_training_mode() -> Foreign:
    foreign = Foreign(opset=15)
    foreign.weights |= {name: np.ones(6, np.float32) for name in ("s", "v")}
    foreign.weights |= {name: np.zeros(6, np.float32) for name in ("b", "m")}
    outputs = ["normal", "new_mean", "new_variance"]
    node = helper.make_node(
        "BatchNormalization", ["stem", "s", "b", "m", "v"], outputs, training_mode=1
    )
    foreign.nodes.insert(1, node)
    foreign.nodes[2].input[0] = "normal"
    return foreign


def dynamic_quantization() -> Foreign:
    foreign = Foreign()
    foreign.nodes.insert(
        2, helper.make_node("DynamicQuantizeLinear", ["relu"], ["bytes", "scale", "zero"])
    )
    foreign.nodes.insert(
        3, helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["rounded"])
    )
    foreign.nodes[4].input[0] = "rounded"
    return foreign


@pytest.mark.parametrize(
    ("foreign", "cause"),
    [
        (batch_norm_in_training_mode(), "batch normalization in training mode"),
        (dynamic_quantization(), "one scale for the whole batch; use static quantization"),
    ],
    ids=["batch norm", "dynamic quantization"],
)
def test_an_operator_that_depends_on_the_batch_is_rejected(
    tmp_path: Path, foreign: Foreign, cause: str
) -> None:
    with pytest.raises(ExporterError, match=f"depends on the other images in its batch.*{cause}"):
        import_model(source(foreign.write(tmp_path)), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def divides_by_the_image() -> Foreign:
    foreign = Foreign()
    foreign.nodes[0:0] = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3]),
        helper.make_node("Div", ["x", "mean"], ["scaled"]),
    ]
    foreign.nodes[2].input[0] = "scaled"
    return foreign


def test_a_graph_that_returns_nan_for_a_black_image_is_published_only_on_request(
    tmp_path: Path,
) -> None:
    path = divides_by_the_image().write(tmp_path)
    with pytest.raises(ExporterError, match=r"is NaN or infinite for a black image; .*--allow-non"):
        import_model(source(path), tmp_path / "models")
    assert not (tmp_path / "models").exists()
    directory = import_model(source(path, allow_nonfinite=True), tmp_path / "models").directory
    assert list(manifest_of(directory).nonfinite_inputs) == ["a black image"]


def test_a_graph_with_nan_is_described_with_the_images(tmp_path: Path) -> None:
    path, models = divides_by_the_image().write(tmp_path), tmp_path / "models"
    command = ["import", str(path), "--name", "mine", "--repository", str(models)]
    published = CliRunner().invoke(app, [*command, "--allow-nonfinite"])
    assert published.exit_code == 0, published.output
    assert "not finite NaN or infinity for a black image; the server reports" in published.stdout
    bundle = str(models / "mine/1")
    described = CliRunner().invoke(app, ["describe", bundle]).stdout
    assert "not finite     NaN or infinity for a black image\n" in described
    as_json = json.loads(CliRunner().invoke(app, ["describe", bundle, "--json"]).stdout)
    assert as_json["nonfinite"] == "NaN or infinity for a black image"


def node(kind: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, names[:-1], names[-1:], **attributes)


UNCLEAR = {
    "scaled sigmoid": [node("Sigmoid", "scores", "s"), node("Mul", "s", "two", "answer")],
    "percent": [node("Softmax", "scores", "s", axis=1), node("Mul", "s", "two", "answer")],
    "log-likelihood": [node("LogSoftmax", "scores", "s", axis=1), node("Neg", "s", "answer")],
    "two heads": [
        node("Mul", "scores", "two", "s"),
        node("Concat", "s", "scores", "answer", axis=1),
    ],
    "softmax beside scores": [
        node("Softmax", "scores", "s", axis=1),
        node("Concat", "s", "scores", "answer", axis=1),
    ],
    "clip": [node("Clip", "scores", "low", "two", "answer")],
    "softplus": [node("Softplus", "scores", "answer")],
}


@pytest.mark.parametrize("end", UNCLEAR.values(), ids=UNCLEAR)
def test_a_function_of_the_scores_gets_no_guessed_activation(
    tmp_path: Path, end: list[onnx.NodeProto]
) -> None:
    foreign = Foreign(ends_in=None)
    foreign.nodes += end
    foreign.weights |= {"two": np.array(2, np.float32), "low": np.array(-2, np.float32)}
    foreign.output = "answer"
    with pytest.raises(ExporterError, match=r"isn't clear what the outputs are.*--activation"):
        import_model(source(foreign.write(tmp_path)), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_scaled_logits_are_logits(tmp_path: Path) -> None:
    foreign = other_head("Div", "temperature")
    foreign.weights["temperature"] = np.array(3, np.float32)
    ours = probabilities(foreign.write(tmp_path), tmp_path)
    powers = np.exp(answers(foreign))
    np.testing.assert_allclose(ours, powers / powers.sum(1, keepdims=True), atol=1e-5)


def test_sorted_outputs_belong_to_no_class(tmp_path: Path) -> None:
    foreign = Foreign()
    foreign.nodes.append(helper.make_node("TopK", ["answer", "five"], ["best", "order"], axis=1))
    foreign.weights["five"] = np.array([CLASSES])
    foreign.output = "best"
    with pytest.raises(ExporterError, match="sorted by TopK, so none of them belongs to one class"):
        import_model(source(foreign.write(tmp_path)), tmp_path)


@pytest.mark.parametrize("is_active", [True, False])
def test_an_active_dropout_is_rejected(tmp_path: Path, is_active: bool) -> None:
    foreign = other_head("Dropout", "ratio", "active")
    foreign.weights |= {"ratio": np.array(0.5, np.float32), "active": np.array(is_active)}
    path = foreign.write(tmp_path)
    if is_active:
        with pytest.raises(ExporterError, match="differs from run to run, because Dropout"):
            import_model(source(path), tmp_path / "models")
    else:
        import_model(source(path), tmp_path / "models")
    assert (tmp_path / "models").exists() != is_active


def test_added_noise_is_rejected(tmp_path: Path) -> None:
    foreign = Foreign()
    foreign.nodes.insert(1, helper.make_node("RandomNormalLike", ["stem"], ["noise"], scale=1e-3))
    foreign.nodes.insert(2, helper.make_node("Add", ["stem", "noise"], ["noisy"]))
    foreign.nodes[3].input[0] = "noisy"
    with pytest.raises(ExporterError, match="because RandomNormalLike 'noise' is random; export"):
        import_model(source(foreign.write(tmp_path)), tmp_path / "models")


def test_external_data_that_is_too_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    onnx.save(
        Foreign().model(), path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(ExporterError, match=r"external data of .* can't be read.*copy or export"):
        import_model(source(path), tmp_path / "models")


def test_an_operator_that_lacks_a_type_is_named_with_the_repair(tmp_path: Path) -> None:
    path = Foreign(element=TensorProto.DOUBLE).write(tmp_path)
    with pytest.raises(ExporterError, match=r"for this type.*Conv.*export the model in float32"):
        import_model(source(path), tmp_path / "models")
