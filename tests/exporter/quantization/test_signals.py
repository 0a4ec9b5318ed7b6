"""Signals and clips: networks over floats in one and three dimensions become INT8 too."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

from convscope.bundle.golden import golden_arrays
from convscope.bundle.reader import read_bundle
from convscope.bundle.writer import write_bundle
from convscope.exporter.bundles.verify import CHECKS, verify
from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb

CLASSES, CHANNELS = 3, 8
OUTPUTS = ("logits", "probabilities")
SHAPES = {"signal": (2, 48), "clip": (3, 4, 8, 8)}


def inputs(kind: str, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return noisy values of one pattern for each class in turn, from -3 to 7."""
    shape = SHAPES[kind]
    patterns = np.random.default_rng(1234).normal(2, 1, (CLASSES, *shape))
    noise = np.random.default_rng(seed).normal(0, 0.2, (count, *shape))
    return np.asarray(patterns[np.arange(count) % CLASSES] + noise, np.float32)


def write_network(repository: Path, kind: str) -> Path:
    """Write a bundle of a convolution and a head that tells the patterns apart."""
    shape = SHAPES[kind]
    dimensions = len(shape) - 1
    random = np.random.default_rng(0)
    weights = {"w": random.normal(0, 0.3, (CHANNELS, shape[0], *[3] * dimensions))}
    body = [
        helper.make_node("Conv", [kind, "w"], ["conv"], pads=[1] * (2 * dimensions)),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
    ]
    (found,) = run(model(kind, body, weights, {"flat": CHANNELS}), kind, inputs(kind, 90, 5))
    columns = np.column_stack([found, np.ones(len(found))])
    wanted = 6 * np.eye(CLASSES)[np.arange(len(found)) % CLASSES]
    solved = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    weights |= {"head": solved[:-1].T, "bias": solved[-1]}
    head = [
        helper.make_node("Gemm", ["flat", "head", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = model(kind, [*body, *head], weights, dict.fromkeys(OUTPUTS, CLASSES))
    golden = inputs(kind, 3, 9)
    outputs = dict(zip(OUTPUTS, run(graph, kind, golden), strict=True))
    manifest = pb.ModelManifest(
        schema_version=1,
        model=kind,
        version=1,
        task=pb.TASK_CLASSIFICATION,
        input=pb.InputSpec(
            name=kind, kind=pb.INPUT_KIND_TENSOR, dtype=pb.DATA_TYPE_FLOAT32, shape=shape
        ),
        labels=[f"kind {number}" for number in range(CLASSES)],
        activation=pb.ACTIVATION_SOFTMAX,
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(inputs=3, probability_tolerance=0.03),
        provenance=pb.Provenance(architecture=kind, weights="random"),
    )
    data = graph.SerializeToString()
    return write_bundle(
        repository, manifest, lambda path: write(path, data), golden_arrays(list(golden), outputs)
    )


def model(
    kind: str,
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[np.float64]],
    outputs: dict[str, int],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info(kind, TensorProto.FLOAT, ["batch", *SHAPES[kind]])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in outputs.items()
        ],
        [numpy_helper.from_array(value.astype(np.float32), n) for n, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def run(
    graph: onnx.ModelProto, kind: str, values: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    return [np.asarray(one) for one in ReferenceEvaluator(graph).run(None, {kind: values})]


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize("kind", list(SHAPES))
def test_the_input_and_the_convolution_are_quantized(tmp_path: Path, kind: str) -> None:
    bundle = write_network(tmp_path, kind)
    np.savez(tmp_path / "x.npz", x=inputs(kind, 160))
    done = CliRunner().invoke(
        app, ["quantize", str(bundle), "--calibration", f"npz:{tmp_path / 'x.npz'}"]
    )
    assert done.exit_code == 0, done.output
    quantized = read_bundle(tmp_path / kind / "2")
    record = quantized.manifest.quantization
    assert (record.layers, record.fp32_layers) == (2, 0)
    figures = {one.name: one.value for one in record.figures}
    assert figures["top1_kept_where_clear"] == 1
    graph = onnx.load_model_from_string(quantized.read_graph()).graph
    first = next(node for node in graph.node if kind in node.input)
    assert first.op_type == "QuantizeLinear"
    assert [check.name for check in verify(tmp_path / kind / "2")] == list(CHECKS)
