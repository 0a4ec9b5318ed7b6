from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.foreign_models import (
    CLASSES,
    SIDE,
    Foreign,
    manifest_of,
    other_head,
    reference,
    run_bundle,
    some_images,
    source,
)

from convscope.exporter.conversion.photos import golden_photos
from convscope.exporter.errors import ExporterError
from convscope.exporter.foreign.importing import import_model
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.preprocessing.declared import DeclaredResize
from convscope.exporter.preprocessing.resizing import ShortestEdge

SMALL = ImagePreprocessing(SIDE, SIDE, (0.0,) * 3, (1.0,) * 3, resize=ShortestEdge(SIDE))
LARGE = ImagePreprocessing(224, 224, (0.0,) * 3, (1.0,) * 3, resize=ShortestEdge(256))
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_the_foreign_graph_receives_the_pixels_that_it_expects(
    tmp_path: Path, layout: str, color: str
) -> None:
    channels = 1 if color == "gray" else 3
    foreign = Foreign(layout, channels)
    mean, std = (110.0, 120.0, 130.0)[:channels], (50.0, 60.0, 70.0)[:channels]
    options = source(foreign.write(tmp_path), color=color, scale=1.0, mean=mean, std=std)
    directory = import_model(options, tmp_path / "models").directory
    images = some_images(channels)
    ordered = images[..., ::-1] if color == "bgr" else images
    values = ((ordered - np.array(mean)) / np.array(std)).astype(np.float32)
    values = values.transpose(0, 3, 1, 2) if layout == "nchw" else values
    expected = np.concatenate(reference(foreign, values))
    np.testing.assert_allclose(run_bundle(directory, images)["probabilities"], expected, atol=1e-5)


def test_names_that_equal_ours_do_not_collide(tmp_path: Path) -> None:
    foreign = Foreign()
    model = foreign.model()
    text = {"x": "images", "scores": "probabilities", "answer": "logits", "kernel": "mean"}
    for node in model.graph.node:
        node.input[:] = [text.get(name, name) for name in node.input]
        node.output[:] = [text.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = text.get(value.name, value.name)
    for tensor in model.graph.initializer:
        tensor.name = text.get(tensor.name, tensor.name)
    onnx.save(model, tmp_path / "same.onnx")
    directory = import_model(source(tmp_path / "same.onnx"), tmp_path).directory
    images = some_images()
    values = (images / 255).astype(np.float32).transpose(0, 3, 1, 2)
    expected = np.concatenate(reference(foreign, values))
    np.testing.assert_allclose(run_bundle(directory, images)["probabilities"], expected, atol=1e-5)


def test_the_manifest_records_the_origin_of_the_weights(tmp_path: Path) -> None:
    options = source(
        Foreign().write(tmp_path), labels=list("abcde"), license="MIT", dataset="letters"
    )
    manifest = manifest_of(import_model(options, tmp_path).directory)
    assert list(manifest.labels) == list("abcde")
    provenance = manifest.provenance
    assert provenance.weights.startswith("foreign.onnx (sha256 ")
    assert (provenance.weights_license, provenance.dataset) == ("MIT", "letters")
    assert provenance.parameters == 6 * 27 + 6 * 64 * CLASSES


def test_golden_outputs_are_the_originals(tmp_path: Path) -> None:
    foreign = Foreign()
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    golden = np.load(directory / "golden.npz")
    images = np.stack([SMALL.prepare(photo) for photo in golden_photos()])
    values = (images / 255).astype(np.float32).transpose(0, 3, 1, 2)
    expected = np.concatenate(reference(foreign, values))
    np.testing.assert_allclose(golden["probabilities"], expected, atol=1e-5)


def mixes_the_batch() -> Foreign:
    foreign = other_head("Sub", "mean")
    mean = helper.make_node("ReduceMean", ["scores"], ["mean"], axes=[0], keepdims=1)
    foreign.nodes.insert(-1, mean)
    foreign.opset = 13
    return foreign


def returns_a_map() -> Foreign:
    foreign = Foreign(ends_in=None)
    foreign.nodes[3:] = [helper.make_node("Tanh", ["pool"], ["answer"])]
    foreign.output = "answer"
    return foreign


def returns_class_numbers() -> Foreign:
    foreign = other_head("ArgMax", axis=1)
    foreign.answers = TensorProto.INT64
    return foreign


def with_two_inputs() -> Foreign:
    foreign = other_head("Add", "y")
    foreign.more_inputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    return foreign


def has_a_fixed_batch_inside() -> Foreign:
    foreign = Foreign()
    foreign.nodes[3:4] = [
        helper.make_node("Reshape", ["pool", "line"], ["one_line"]),
        helper.make_node("Gather", ["one_line", "places"], ["flat"]),
    ]
    foreign.weights |= {"line": np.array([-1]), "places": np.arange(6 * (SIDE // 2) ** 2)[None]}
    return foreign


REJECTED = [
    (has_a_fixed_batch_inside(), {}, "returns 1 of 'logits' for 2 images: it has a fixed batch"),
    (Foreign(), {"labels": ["a", "b"]}, "has 5 classes, but there are 2 labels"),
    (Foreign(), {"activation": "sigmoid"}, "already ends in softmax"),
    (Foreign(), {"layout": "nhwc"}, r"x' is float \[1, 3, 16, 16\], which as NHWC has 16 channels"),
    (Foreign(), {"color": "gray"}, "holds the one channel of gray; use --color rgb or bgr"),
    (Foreign(channels=1), {}, "holds the three channels of RGB or BGR; use --color gray"),
    (Foreign(channels=4), {}, "a bundle takes RGB, BGR or gray images"),
    (Foreign(channels=3, size=3), {}, "it isn't clear which axis has the 3 channels"),
    (Foreign(), {"mean": (0.1, 0.2)}, "--mean has 2 numbers; pass one, or one for each of 3"),
    (Foreign(), {"std": (0.0,)}, "must be numbers above 0"),
    (
        Foreign(),
        {"resize": DeclaredResize("8")},
        "--resize 8 is less than the network's input, 16x16; use at least 16",
    ),
    (Foreign(), {"size": (8, 8)}, "can't be cropped to 8x8"),
    (Foreign(), {"output": "scores"}, "no output 'scores'; available: answer"),
    (Foreign(), {"feature_maps": ("rely",)}, "no tensor 'rely'; did you mean relu"),
    (Foreign(), {"feature_maps": ("flat",)}, r"'flat' is \[1, 384\] for one image"),
    (Foreign(), {"feature_maps": ("relu=a", "pool=a")}, "the name 'a' is taken"),
    (Foreign(), {"feature_maps": ("relu=logits",)}, "the name 'logits' is taken"),
    (Foreign(ends_in=None), {"activation": "none"}, "so they are no probabilities"),
    (returns_a_map(), {}, r"output 'answer' is \[1, 6, 8, 8\] for one image; a classifier"),
    (returns_class_numbers(), {}, "the output 'answer' is int64 instead of scores"),
    (with_two_inputs(), {}, "must have one input, the image; it has: 'x', 'y'"),
    (mixes_the_batch(), {}, "depends on the other images in its batch.*over the batch axis"),
]


@pytest.mark.parametrize(
    ("foreign", "options", "reason"), REJECTED, ids=[reason[:40] for _, _, reason in REJECTED]
)
def test_an_invalid_import_is_rejected_and_writes_nothing(
    tmp_path: Path, foreign: Foreign, options: dict[str, Any], reason: str
) -> None:
    path = foreign.write(tmp_path)
    with pytest.raises(ExporterError, match=reason):
        import_model(source(path, **options), tmp_path / "models")
    assert not (tmp_path / "models").exists()


# The weights of these files are all equal, so all classes are equal too. Random
# weights show that each value has its effect.
@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "densenet121", "inception_v1"])
def test_published_graphs_with_random_weights_are_imported(tmp_path: Path, name: str) -> None:
    path = tmp_path / "random.onnx"
    onnx.save(with_random_weights(onnx.load(LIGHT / f"light_{name}.onnx")), path)
    resize = DeclaredResize("256")
    imported = import_model(source(path, resize=resize, scale=1 / 128, mean=(1.0,)), tmp_path)
    assert all(one.difference <= 1e-3 for one in imported.parity)
    photo = LARGE.prepare(golden_photos()[1])
    probabilities = run_bundle(imported.directory, photo[np.newaxis])["probabilities"]
    assert len(np.unique(probabilities)) > 100


def with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == 7}
    made = [node for node in model.graph.node if node.op_type == "ConstantOfShape"]
    variances = {n.input[4] for n in model.graph.node if n.op_type == "BatchNormalization"}
    for node in made:
        shape = shapes[node.input[0]]
        fan = np.prod(shape[1:]) if len(shape) > 1 else 4
        value = random.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / fan))
        value = np.ones_like(value) if node.output[0] in variances else value
        tensor = numpy_helper.from_array(value, node.output[0])
        model.graph.initializer.append(tensor)
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
        model.graph.node.remove(node)
    return model
