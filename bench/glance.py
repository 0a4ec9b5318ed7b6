"""A bundle whose network looks at 16 pixels of a photo, so that it takes almost no time."""

from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

from bench.context import Bench
from bench.photos import pixels_224
from convscope.bundle.writer import write_bundle
from convscope.v1 import manifest_pb2 as pb

__all__ = ["GLANCE", "SHAPE", "glance"]

GLANCE = "glance"
SHAPE = (224, 224, 3)
CLASSES = 10
STEP = 56  # of the pixels that the network looks at, in both directions
SEEN = (SHAPE[0] // STEP) * (SHAPE[1] // STEP) * SHAPE[2]


def glance(bench: Bench) -> Path:
    """Make a repository with this model, and return its path."""
    root = bench.scratch / "repository-glance"
    if not root.exists():
        _write(root)
    return root


def _write(repository: Path) -> None:
    graph = _graph()
    photos = [np.frombuffer(pixels_224(), np.uint8).reshape(SHAPE)]
    photos.append(photos[0][::-1, ::-1])
    logits, probabilities = ReferenceEvaluator(graph).run(None, {"images": np.stack(photos)})
    golden: dict[str, NDArray[np.generic]] = {
        f"input_{i}": np.frombuffer(_png(p), np.uint8) for i, p in enumerate(photos)
    }
    golden |= {"logits": np.asarray(logits), "probabilities": np.asarray(probabilities)}
    manifest = pb.ModelManifest(
        schema_version=1,
        model=GLANCE,
        version=1,
        task=pb.TASK_CLASSIFICATION,
        input=pb.InputSpec(
            name="images", kind=pb.INPUT_KIND_IMAGE, dtype=pb.DATA_TYPE_UINT8, shape=SHAPE
        ),
        preprocessing=pb.Preprocessing(
            color_mode=pb.COLOR_MODE_RGB,
            resize=pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=SHAPE[0], width=SHAPE[1]),
            interpolation=pb.INTERPOLATION_BILINEAR,
        ),
        labels=[f"class {index}" for index in range(CLASSES)],
        activation=pb.ACTIVATION_SOFTMAX,
        precision=pb.PRECISION_FP32,
        golden=pb.GoldenGate(inputs=len(photos), probability_tolerance=0.03),
    )
    write_bundle(
        repository,
        manifest,
        lambda path: onnx.save(graph, path),
        golden,
    )


def _graph() -> onnx.ModelProto:
    """Make the graph: every 56th pixel of every 56th row, and one dense layer."""
    weight = np.random.default_rng(0).normal(0, 0.01, (SEEN, CLASSES)).astype(np.float32)
    arrays = {
        "weight": weight,
        "starts": np.array([0, 0]),
        "ends": np.array(SHAPE[:2]),
        "axes": np.array([1, 2]),
        "steps": np.array([STEP, STEP]),
    }
    nodes = [
        helper.make_node("Slice", ["images", "starts", "ends", "axes", "steps"], ["seen"]),
        helper.make_node("Cast", ["seen"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        GLANCE,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *SHAPE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", CLASSES])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
