"""Real bundles that are made in milliseconds without torch.

The reference outputs come from the evaluator of the onnx package, which shares
no code with ONNX Runtime.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf import json_format
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

from convscope.v1 import manifest_pb2 as pb

SIDE = 16
CHANNELS = 4
LABELS = ("red", "green", "blue")
OUTPUTS = ("logits", "probabilities", "conv")
SIGNAL_LENGTH = 32


def write_tiny(
    repository: Path,
    model: str = "tiny",
    version: int = 1,
    *,
    activation: str = "Softmax",
    alter_graph: Callable[[onnx.ModelProto], None] = lambda graph: None,
    alter_manifest: Callable[[pb.ModelManifest], None] = lambda manifest: None,
) -> Path:
    """Write a bundle that classifies the strongest color: red, green or blue.

    With the alterations a test makes a bundle that is wrong in one way and valid in every other,
    including its hashes.
    """
    graph = tiny_graph()
    graph.graph.node[-1].op_type = activation
    manifest = tiny_manifest(model, version)
    manifest.activation = pb.Activation.Value(f"ACTIVATION_{activation.upper()}")
    photos = [_png(color) for color in ((200, 30, 20), (20, 180, 40), (30, 20, 220))]
    images = np.stack([reference_preprocess(photo) for photo in photos])
    outputs = dict(
        zip(
            ("logits", "probabilities", "conv"),
            ReferenceEvaluator(graph).run(None, {"images": images}),
            strict=True,
        )
    )
    golden = {f"input_{i}": np.frombuffer(photo, np.uint8) for i, photo in enumerate(photos)}
    golden |= {"logits": outputs["logits"], "probabilities": outputs["probabilities"]}
    golden["feature_map_means/conv"] = outputs["conv"].mean(axis=(2, 3))
    alter_graph(graph)
    return _write(repository, graph, golden, manifest, alter_manifest)


def write_signal(repository: Path, model: str = "signal", version: int = 1) -> Path:
    """Write a bundle whose input is a float32 signal [1, length]."""
    weight = np.random.default_rng(0).normal(size=(SIGNAL_LENGTH, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["signal"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = _model(
        nodes,
        helper.make_tensor_value_info("signal", TensorProto.FLOAT, ["batch", 1, SIGNAL_LENGTH]),
        {"logits": ["batch", 2], "probabilities": ["batch", 2]},
        {"weight": weight},
    )
    signals = np.random.default_rng(1).normal(size=(2, 1, SIGNAL_LENGTH)).astype(np.float32)
    logits, probabilities = ReferenceEvaluator(graph).run(None, {"signal": signals})
    golden = {f"input_{i}": signal for i, signal in enumerate(signals)}
    golden |= {"logits": logits, "probabilities": probabilities}
    manifest = pb.ModelManifest(
        schema_version=1,
        model=model,
        version=version,
        task=pb.TASK_CLASSIFICATION,
        input=pb.InputSpec(
            name="signal",
            kind=pb.INPUT_KIND_TENSOR,
            dtype=pb.DATA_TYPE_FLOAT32,
            shape=[1, SIGNAL_LENGTH],
        ),
        labels=["noise", "tone"],
        activation=pb.ACTIVATION_SOFTMAX,
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(inputs=2, probability_tolerance=0.03),
    )
    return _write(repository, graph, golden, manifest, lambda manifest: None)


def write_extractor(repository: Path, model: str) -> Path:
    """Write a filter bank: a graph whose only output is a feature map."""

    def alter(manifest: pb.ModelManifest) -> None:
        manifest.task = pb.TASK_FEATURE_EXTRACTION
        manifest.activation = pb.ACTIVATION_NONE
        del manifest.labels[:]

    def cut(graph: onnx.ModelProto) -> None:
        del graph.graph.output[:2]
        del graph.graph.node[5:]
        del graph.graph.initializer[2:]

    return write_tiny(repository, model, alter_graph=cut, alter_manifest=alter)


def write_nan_for_black(repository: Path, model: str = "tiny", version: int = 1) -> Path:
    """Write a bundle that returns NaN for images without red, green or blue, such as black."""

    def alter(graph: onnx.ModelProto) -> None:
        *before, product, softmax = graph.graph.node
        product.output[0] = "product"
        added = [
            helper.make_node("GlobalAveragePool", ["normal"], ["colors"]),
            helper.make_node("Flatten", ["colors"], ["three"]),
            helper.make_node("Div", ["three", "three"], ["one_or_nan"]),
            helper.make_node("Mul", ["product", "one_or_nan"], ["logits"]),
        ]
        nodes = [*before, product, *added, softmax]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.graph.node[:]
        graph.graph.node.extend(copies)

    return write_tiny(repository, model, version, alter_graph=alter)


def tiny_graph() -> onnx.ModelProto:
    """Make the graph: normalization, one convolution, global mean, softmax."""
    random = np.random.default_rng(7)
    convolution = random.normal(0, 0.2, (CHANNELS, 3, 3, 3)).astype(np.float32)
    for channel in range(3):  # channels 0 to 2 each detect one color
        convolution[channel, channel, 1, 1] += 4
    dense = np.eye(CHANNELS, 3, dtype=np.float32) * 3
    nodes = [
        helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "white"], ["normal"]),
        helper.make_node("Conv", ["normal", "convolution"], ["sums"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sums"], ["conv"]),
        helper.make_node("GlobalAveragePool", ["conv"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    return _model(
        nodes,
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3]),
        {
            "logits": ["batch", 3],
            "probabilities": ["batch", 3],
            "conv": ["batch", CHANNELS, SIDE, SIDE],
        },
        {"white": np.float32(255), "convolution": convolution, "dense": dense},
    )


def tiny_manifest(model: str, version: int) -> pb.ModelManifest:
    """Make the manifest without the files."""
    return pb.ModelManifest(
        schema_version=1,
        model=model,
        version=version,
        task=pb.TASK_CLASSIFICATION,
        input=pb.InputSpec(
            name="images",
            kind=pb.INPUT_KIND_IMAGE,
            dtype=pb.DATA_TYPE_UINT8,
            shape=[SIDE, SIDE, 3],
        ),
        preprocessing=pb.Preprocessing(
            color_mode=pb.COLOR_MODE_RGB,
            resize=pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=SIDE + 4),
            interpolation=pb.INTERPOLATION_BILINEAR,
        ),
        labels=LABELS,
        activation=pb.ACTIVATION_SOFTMAX,
        feature_maps=[
            pb.FeatureMapSpec(
                name="conv",
                module="conv",
                channels=CHANNELS,
                height=SIDE,
                width=SIDE,
                stride=1,
            )
        ],
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(inputs=3, probability_tolerance=0.03),
    )


def reference_preprocess(photo: bytes) -> NDArray[np.uint8]:
    """Decode, resize and crop as the tiny manifest states, in the simplest way."""
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    width, height = image.size
    edge = SIDE + 4
    size = (
        (edge, int(edge * height / width))
        if width <= height
        else (int(edge * width / height), edge)
    )
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - SIDE) / 2), round((size[1] - SIDE) / 2)
    return np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))


def seal(directory: Path) -> None:
    """Update the hashes of a bundle's files in its manifest."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = [_file_entry(directory / f["name"]) for f in manifest["files"]]
    path.write_text(json.dumps(manifest, indent=2))


def _model(
    nodes: list[onnx.NodeProto],
    graph_input: onnx.ValueInfoProto,
    outputs: dict[str, list[str | int]],
    weights: dict[str, NDArray[np.float32] | np.float32],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [graph_input],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _png(color: tuple[int, int, int]) -> bytes:
    """Make a noisy picture of one color, larger than the input and not square."""
    noise = np.random.default_rng(sum(color)).integers(-15, 16, (60, 90, 3))
    pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _write(
    repository: Path,
    graph: onnx.ModelProto,
    golden: Mapping[str, NDArray[np.generic]],
    manifest: pb.ModelManifest,
    alter_manifest: Callable[[pb.ModelManifest], None],
) -> Path:
    directory = repository / manifest.model / str(manifest.version)
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(graph.SerializeToString())
    with (directory / "golden.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **golden)
    for name in ("model.onnx", "golden.npz"):
        json_format.ParseDict(_file_entry(directory / name), manifest.files.add())
    alter_manifest(manifest)
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    (directory / "manifest.json").write_text(text)
    return directory


def _file_entry(path: Path) -> dict[str, str | int]:
    data = path.read_bytes()
    return {
        "name": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
    }
