"""A network of four convolutions with clear results, made in milliseconds without torch.

The channels of one layer can be given outliers: values so large that eight bits for all
channels leave none for the others.
"""

import io
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

from convscope.bundle.golden import golden_arrays
from convscope.bundle.writer import write_bundle
from convscope.v1 import manifest_pb2 as pb

__all__ = ["CLASSES", "LAYERS", "SIDE", "images", "labels_of", "write_quantizable"]

SIDE = 16
CLASSES = 4
LAYERS = 4  # and a dense layer, the head
CHANNELS = 8
OUTPUTS = ("logits", "probabilities", "map")
OUTLIER = 3e4
LOGIT = 6.0  # of the right class
_SCALES = (58.395, 57.12, 57.375)
_MEANS = (123.675, 116.28, 103.53)


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return noisy images of one pattern for each class in turn, uint8 [count, SIDE, SIDE, 3]."""
    patterns = np.random.default_rng(1234).integers(0, 256, (CLASSES, 4, 4, 3))
    random = np.random.default_rng(seed)
    coarse = patterns[np.arange(count) % CLASSES] + random.normal(0, 25, (count, 4, 4, 3))
    smooth = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2)
    return np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def labels_of(directory: Path, values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the best class of each image, computed without ONNX Runtime."""
    model = onnx.load(directory / "model.onnx")
    (found,) = ReferenceEvaluator(model).run(["probabilities"], {"images": values})
    return np.asarray(np.asarray(found, np.float32).argmax(axis=1), np.int64)


def write_quantizable(
    repository: Path,
    model: str = "blocks",
    *,
    outlier_after: int | None = None,
    scale: float = 1.0,
) -> Path:
    """Write a bundle of the network.

    Args:
        repository: The repository.
        model: The model's name.
        outlier_after: The layer, counted from 1, whose outputs have an outlier.
        scale: A factor of the first layer's outputs, which the second layer undoes.
    """
    graph = _graph(outlier_after, scale)
    candidates = images(20, seed=99)
    found = dict(
        zip(OUTPUTS, ReferenceEvaluator(graph).run(None, {"images": candidates}), strict=True)
    )
    second, best = np.sort(found["probabilities"], axis=1)[:, -2:].T
    clear = np.argsort(second - best)[:3]
    outputs = {name: values[clear] for name, values in found.items()}
    manifest = pb.ModelManifest(
        schema_version=1,
        model=model,
        version=1,
        task=pb.TASK_CLASSIFICATION,
        input=pb.InputSpec(
            name="images",
            kind=pb.INPUT_KIND_IMAGE,
            dtype=pb.DATA_TYPE_UINT8,
            shape=[SIDE, SIDE, 3],
        ),
        preprocessing=pb.Preprocessing(
            color_mode=pb.COLOR_MODE_RGB,
            resize=pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=SIDE, width=SIDE),
            interpolation=pb.INTERPOLATION_BILINEAR,
        ),
        labels=[f"kind {number}" for number in range(CLASSES)],
        activation=pb.ACTIVATION_SOFTMAX,
        feature_maps=[
            pb.FeatureMapSpec(
                name="map", module="map", channels=CHANNELS, height=SIDE, width=SIDE, stride=1
            )
        ],
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(inputs=3, probability_tolerance=0.03),
        provenance=pb.Provenance(architecture="blocks", weights="random"),
    )
    encoded = [_png(image) for image in candidates[clear]]
    data = graph.SerializeToString()
    return write_bundle(
        repository,
        manifest,
        lambda path: _write(path, data),
        golden_arrays(encoded, outputs),
    )


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _graph(outlier_after: int | None, scale: float) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights: dict[str, NDArray[np.generic]] = {
        "mean": np.array(_MEANS, np.float32).reshape(1, 3, 1, 1),
        "std": np.array(_SCALES, np.float32).reshape(1, 3, 1, 1),
    }
    nodes = [
        helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["shifted"]),
        helper.make_node("Div", ["shifted", "std"], ["layer0"]),
    ]
    for layer in range(1, LAYERS + 1):
        inputs = 3 if layer == 1 else CHANNELS
        weight = random.normal(0, np.sqrt(2 / (9 * inputs)), (CHANNELS, inputs, 3, 3))
        bias = random.normal(0, 0.1, CHANNELS)
        if layer == outlier_after:
            weight[0], bias[0] = 0, OUTLIER
        if layer - 1 == outlier_after:
            weight[:, 0] = 0  # what follows doesn't read it
        if layer == 1:
            weight, bias = scale * weight, scale * bias
        elif layer == 2:
            weight = weight / scale
        weights[f"w{layer}"] = weight.astype(np.float32)
        weights[f"b{layer}"] = bias.astype(np.float32)
        output = "map" if layer == LAYERS else f"layer{layer}"
        nodes += [
            helper.make_node(
                "Conv",
                [f"layer{layer - 1}", f"w{layer}", f"b{layer}"],
                [f"conv{layer}"],
                pads=[1, 1, 1, 1],
            ),
            helper.make_node("Relu", [f"conv{layer}"], [output]),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head", "head_bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    weights["head"], weights["head_bias"] = _head(nodes, weights)
    return _model(nodes, weights)


def _head(
    nodes: list[onnx.NodeProto], weights: dict[str, NDArray[np.generic]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a head that tells the patterns apart, by least squares."""
    body = nodes[: [node.output[0] for node in nodes].index("flat") + 1]
    model = _model(body, weights, {"flat": ["batch", CHANNELS]})
    (found,) = ReferenceEvaluator(model).run(None, {"images": images(200, seed=7)})
    features = np.asarray(found, np.float32)
    usable = features.std(axis=0) > 0  # an outlier is the same for all images
    wanted = LOGIT * np.eye(CLASSES)[np.arange(200) % CLASSES]
    columns = np.column_stack([features * usable, np.ones(200)])
    solved = np.linalg.lstsq(columns, wanted, rcond=1e-9)[0]
    return solved[:-1].T.astype(np.float32), solved[-1].astype(np.float32)


def _model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[np.generic]],
    outputs: dict[str, list[str | int]] | None = None,
) -> onnx.ModelProto:
    shapes = outputs or {
        "logits": ["batch", CLASSES],
        "probabilities": ["batch", CLASSES],
        "map": ["batch", CHANNELS, SIDE, SIDE],
    }
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
