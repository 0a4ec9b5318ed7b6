from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import json_format
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

from convscope.exporter.bundles.reader import preprocess
from convscope.exporter.cli import app
from convscope.exporter.conversion.photos import golden_photos
from convscope.exporter.errors import ExporterError, ParityError, UnknownNameError
from convscope.exporter.foreign.importing import ForeignSource, import_model
from convscope.exporter.foreign.join import join
from convscope.exporter.graphs.comparison import softmax
from convscope.exporter.graphs.sessions import open_graph, run_graph
from convscope.v1 import manifest_pb2 as pb

SIDE = 16
CLASSES = 5
NCHW = [0, 3, 1, 2]
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
Arrays = dict[str, NDArray[np.float32]]


class Foreign:
    """A small classifier as somebody else might have written it.

    Args:
        layout: Where its channels are.
        channels: How many there are.
        batch: What its input and its Reshape say of the batch.
        opset: Of its operators.
        ends_in: Its last operator, if another than its dense layer.
    """

    def __init__(
        self,
        layout: str = "nchw",
        channels: int = 3,
        batch: int | str = 1,
        opset: int = 13,
        ends_in: str | None = "Softmax",
        element: int = TensorProto.FLOAT,
        size: int | str = SIDE,
    ) -> None:
        random = np.random.default_rng(3)
        dtype = helper.tensor_dtype_to_np_dtype(element)
        self.weights = {
            "kernel": random.normal(0, 0.4, (6, channels, 3, 3)).astype(dtype),
            "dense": random.normal(0, 0.2, (6 * (SIDE // 2) ** 2, CLASSES)).astype(dtype),
            "shape": np.array([batch if isinstance(batch, int) else -1, 6 * (SIDE // 2) ** 2]),
        }
        self.nodes = (
            [] if layout == "nchw" else [self._node("Transpose", "x", "t", perm=[0, 3, 1, 2])]
        )
        self.nodes += [
            self._node("Conv", "x" if layout == "nchw" else "t", "kernel", "stem", pads=[1] * 4),
            self._node("Relu", "stem", "relu"),
            self._node("MaxPool", "relu", "pool", kernel_shape=[2, 2], strides=[2, 2]),
            self._node("Reshape", "pool", "shape", "flat"),
            self._node("MatMul", "flat", "dense", "scores"),
        ]
        self.output = "scores"
        if ends_in:
            options = {"axis": -1} if ends_in == "Softmax" and opset >= 13 else {}
            self.nodes.append(self._node(ends_in, "scores", "answer", **options))
            self.output = "answer"
        sides: list[int | str] = [size, size]
        self.shape = [batch, channels, *sides] if layout == "nchw" else [batch, *sides, channels]
        self.more_inputs: list[onnx.ValueInfoProto] = []
        self.element = element
        self.answers = element
        self.opset = opset

    @staticmethod
    def _node(kind: str, *names: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, names[:-1], names[-1:], name=names[-1], **attributes)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "foreign",
            [helper.make_tensor_value_info("x", self.element, self.shape), *self.more_inputs],
            [helper.make_tensor_value_info(self.output, self.answers, None)],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    def write(self, folder: Path) -> Path:
        path = folder / "foreign.onnx"
        onnx.save(self.model(), path)
        return path


def source(path: Path, **said: Any) -> ForeignSource:
    return replace(ForeignSource(path=path, model="foreign", version=1), **said)


def manifest_of(directory: Path) -> pb.ModelManifest:
    return json_format.Parse((directory / "manifest.json").read_text(), pb.ModelManifest())


def run_bundle(directory: Path, images: NDArray[np.uint8]) -> Arrays:
    return run_graph(open_graph((directory / "model.onnx").read_bytes()), images)


def some_images(channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, channels), dtype=np.uint8)


def reference(foreign: Foreign, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What the onnx package's own evaluator, which shares no code with ours, says of each image."""
    evaluator = ReferenceEvaluator(foreign.model())
    each = [evaluator.run([foreign.output], {"x": value[np.newaxis]}) for value in values]
    return [np.asarray(answer) for (answer,) in each]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_pixels_arrive_as_the_foreign_graph_expects_them(
    tmp_path: Path, layout: str, color: str
) -> None:
    channels = 1 if color == "gray" else 3
    foreign = Foreign(layout, channels)
    mean, std = (110.0, 120.0, 130.0)[:channels], (50.0, 60.0, 70.0)[:channels]
    said = source(foreign.write(tmp_path), color=color, scale=1.0, mean=mean, std=std)
    directory = import_model(said, tmp_path / "models").directory
    images = some_images(channels)
    turned = images[..., ::-1] if color == "bgr" else images
    values = ((turned - np.array(mean)) / np.array(std)).astype(np.float32)
    values = values.transpose(0, 3, 1, 2) if layout == "nchw" else values
    expected = np.concatenate(reference(foreign, values))
    np.testing.assert_allclose(run_bundle(directory, images)["probabilities"], expected, atol=1e-5)


def test_the_record_of_the_preprocessing_is_in_red_first_units_of_one(tmp_path: Path) -> None:
    said = source(
        Foreign().write(tmp_path),
        color="bgr",
        scale=1.0,
        mean=(25.5, 51.0, 76.5),
        std=(255.0,),
        resize=20,
        interpolation="bicubic",
    )
    rule = manifest_of(import_model(said, tmp_path).directory).preprocessing
    np.testing.assert_allclose(rule.mean, [0.3, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(rule.std, [1, 1, 1])
    assert rule.color_mode == pb.COLOR_MODE_RGB
    assert (rule.resize.rule, rule.resize.shortest_edge) == (pb.RESIZE_RULE_SHORTEST_EDGE, 20)
    assert rule.interpolation == pb.INTERPOLATION_BICUBIC


@pytest.mark.parametrize("batch", [1, 4, "N"])
@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
def test_any_batch_is_answered_whatever_the_foreign_graph_fixed(
    tmp_path: Path, batch: int | str, opset: int
) -> None:
    foreign = Foreign(batch=batch, opset=opset)
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    images = some_images()
    together = run_bundle(directory, images)
    for name, values in together.items():
        alone = np.concatenate([run_bundle(directory, image[np.newaxis])[name] for image in images])
        np.testing.assert_allclose(values, alone, atol=1e-5)
    graph = onnx.load(directory / "model.onnx")
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_reshape_to_exactly_the_fixed_batch_is_freed(tmp_path: Path) -> None:
    """As PyTorch writes it, where a 0 in the shape would mean nothing."""
    foreign = Foreign(opset=18)
    foreign.nodes[3].attribute.append(helper.make_attribute("allowzero", 1))
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    assert run_bundle(directory, some_images())["logits"].shape == (3, CLASSES)


def test_a_squeeze_spares_the_batch(tmp_path: Path) -> None:
    foreign = Foreign(ends_in=None)
    foreign.weights["head"] = np.random.default_rng(0).normal(size=(CLASSES, 6, 1, 1)).astype("f")
    foreign.nodes[3:] = [
        helper.make_node("GlobalAveragePool", ["pool"], ["mean"]),
        helper.make_node("Conv", ["mean", "head"], ["cells"]),
        helper.make_node("Squeeze", ["cells"], ["scores"]),
    ]
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    assert run_bundle(directory, some_images())["logits"].shape == (3, CLASSES)


@pytest.mark.parametrize(
    ("ends_in", "said", "activation"),
    [
        ("Softmax", None, "softmax"),
        ("Softmax", "none", "softmax"),
        ("Sigmoid", None, "sigmoid"),
        ("LogSoftmax", None, "softmax"),
        (None, None, "softmax"),
        (None, "sigmoid", "sigmoid"),
    ],
)
def test_probabilities_follow_from_the_logits(
    tmp_path: Path, ends_in: str | None, said: str | None, activation: str
) -> None:
    foreign = Foreign(ends_in=ends_in)
    imported = import_model(source(foreign.write(tmp_path), activation=said), tmp_path)
    assert imported.activation == activation
    images = some_images()
    outputs = run_bundle(imported.directory, images)
    logits = outputs["logits"]
    by_hand = softmax(logits) if activation == "softmax" else 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(outputs["probabilities"], by_hand, atol=1e-5)
    values = (images / 255).astype(np.float32).transpose(0, 3, 1, 2)
    answer = np.concatenate(reference(foreign, values))
    same = "probabilities" if ends_in in ("Softmax", "Sigmoid") else "logits"
    np.testing.assert_allclose(outputs[same], answer, atol=1e-4)


def test_probabilities_without_an_activation_to_see_become_logits(tmp_path: Path) -> None:
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
    with pytest.raises(ExporterError, match="say --activation none if they are"):
        import_model(source(path), tmp_path)
    directory = import_model(source(path, activation="none"), tmp_path).directory
    outputs = run_bundle(directory, some_images())
    np.testing.assert_allclose(softmax(outputs["logits"]), outputs["probabilities"], atol=1e-6)


def test_tensors_inside_become_feature_maps_under_names_of_their_own(tmp_path: Path) -> None:
    foreign = Foreign()
    chosen = ("relu=early", "pool")
    imported = import_model(source(foreign.write(tmp_path), feature_maps=chosen), tmp_path)
    early, pool = manifest_of(imported.directory).feature_maps
    assert (early.name, early.module, early.stride) == ("early", "relu", 1)
    assert (pool.name, pool.channels, pool.height, pool.width, pool.stride) == ("pool", 6, 8, 8, 2)
    images = some_images()
    values = (images / 255).astype(np.float32).transpose(0, 3, 1, 2)
    (relu,) = ReferenceEvaluator(show(foreign, "relu")).run(["relu"], {"x": values[:1]})
    ours = run_bundle(imported.directory, images[:1])["early"]
    np.testing.assert_allclose(ours, np.asarray(relu), atol=1e-5)


def show(foreign: Foreign, name: str) -> onnx.ModelProto:
    model = foreign.model()
    model.graph.output.append(helper.make_empty_tensor_value_info(name))
    return model


def test_a_map_with_its_channels_last_is_turned(tmp_path: Path) -> None:
    foreign = Foreign()
    foreign.nodes.insert(3, helper.make_node("Transpose", ["pool"], ["turned"], perm=[0, 2, 3, 1]))
    said = source(foreign.write(tmp_path), feature_maps=("turned",))
    (turned,) = manifest_of(import_model(said, tmp_path).directory).feature_maps
    assert (turned.channels, turned.height, turned.width) == (6, 8, 8)


def test_the_stages_of_the_pyramid_are_the_feature_maps_unless_others_are_named(
    tmp_path: Path,
) -> None:
    directory = import_model(source(Foreign().write(tmp_path)), tmp_path).directory
    names = [(spec.name, spec.stride) for spec in manifest_of(directory).feature_maps]
    assert names == [("relu", 1), ("pool", 2)]


@pytest.mark.parametrize("element", [TensorProto.FLOAT16, TensorProto.UINT8])
def test_other_types_of_input_are_fed(tmp_path: Path, element: int) -> None:
    foreign = Foreign(element=TensorProto.FLOAT16 if element == TensorProto.FLOAT16 else 1)
    if element == TensorProto.UINT8:
        foreign.element = element
        foreign.nodes.insert(0, helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT))
        foreign.nodes.insert(1, helper.make_node("Div", ["c", "white"], ["normal"]))
        foreign.nodes[2].input[0] = "normal"
        foreign.weights["white"] = np.array(255, np.float32)
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    plain = import_model(source(Foreign().write(tmp_path), model="plain"), tmp_path).directory
    images = some_images()
    ours, theirs = (run_bundle(path, images)["probabilities"] for path in (directory, plain))
    np.testing.assert_allclose(ours, theirs, atol=2e-2 if element == TensorProto.FLOAT16 else 1e-5)


def test_a_size_that_the_graph_leaves_open_is_chosen(tmp_path: Path) -> None:
    path = Foreign(size="any", batch="N").write(tmp_path)
    with pytest.raises(ExporterError, match="leaves the size open; choose one with --crop"):
        import_model(source(path), tmp_path)
    directory = import_model(source(path, size=(SIDE, SIDE)), tmp_path).directory
    assert list(manifest_of(directory).input.shape) == [SIDE, SIDE, 3]


def test_constants_that_old_files_list_as_inputs_are_none(tmp_path: Path) -> None:
    foreign = Foreign(opset=9)
    model = foreign.model()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        shape = list(tensor.dims)
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, shape)
        )
    onnx.save(model, tmp_path / "old.onnx")
    directory = import_model(source(tmp_path / "old.onnx"), tmp_path).directory
    graph = onnx.load(directory / "model.onnx").graph
    assert [value.name for value in graph.input] == ["images"]


def test_names_that_are_ours_too_do_no_harm(tmp_path: Path) -> None:
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


def test_weights_in_a_file_beside_are_embedded(tmp_path: Path) -> None:
    path = tmp_path / "beside.onnx"
    onnx.save(Foreign().model(), path, save_as_external_data=True, size_threshold=0)
    directory = import_model(source(path), tmp_path).directory
    graph = onnx.load(directory / "model.onnx", load_external_data=False).graph
    assert not any(tensor.external_data for tensor in graph.initializer)


def test_the_manifest_says_where_the_weights_come_from(tmp_path: Path) -> None:
    said = source(Foreign().write(tmp_path), labels=list("abcde"), license="MIT", dataset="letters")
    manifest = manifest_of(import_model(said, tmp_path).directory)
    assert list(manifest.labels) == list("abcde")
    provenance = manifest.provenance
    assert provenance.weights.startswith("foreign.onnx (sha256 ")
    assert (provenance.weights_license, provenance.dataset) == ("MIT", "letters")
    assert provenance.parameters == 6 * 27 + 6 * 64 * CLASSES


def test_golden_outputs_are_the_originals(tmp_path: Path) -> None:
    foreign = Foreign()
    directory = import_model(source(foreign.write(tmp_path)), tmp_path).directory
    manifest = manifest_of(directory)
    golden = np.load(directory / "golden.npz")
    images = np.stack([preprocess(manifest, photo) for photo in golden_photos()])
    values = (images / 255).astype(np.float32).transpose(0, 3, 1, 2)
    expected = np.concatenate(reference(foreign, values))
    np.testing.assert_allclose(golden["probabilities"], expected, atol=1e-5)


def other_head(kind: str, *inputs: str, **attributes: Any) -> Foreign:
    foreign = Foreign(ends_in=None)
    foreign.nodes.append(helper.make_node(kind, ["scores", *inputs], ["answer"], **attributes))
    foreign.output = "answer"
    return foreign


def mixes_the_batch() -> Foreign:
    foreign = other_head("Sub", "mean")
    mean = helper.make_node("ReduceMean", ["scores"], ["mean"], axes=[0], keepdims=1)
    foreign.nodes.insert(-1, mean)
    foreign.opset = 13
    return foreign


def answers_with_a_map() -> Foreign:
    foreign = Foreign(ends_in=None)
    foreign.nodes[3:] = [helper.make_node("Tanh", ["pool"], ["answer"])]
    foreign.output = "answer"
    return foreign


def with_two_inputs() -> Foreign:
    foreign = other_head("Add", "y")
    foreign.more_inputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    return foreign


def fixes_the_batch_within() -> Foreign:
    foreign = Foreign()
    foreign.nodes[3:4] = [
        helper.make_node("Reshape", ["pool", "line"], ["one_line"]),
        helper.make_node("Gather", ["one_line", "places"], ["flat"]),
    ]
    foreign.weights |= {"line": np.array([-1]), "places": np.arange(6 * (SIDE // 2) ** 2)[None]}
    return foreign


REFUSED = [
    (fixes_the_batch_within(), {}, "answers 2 images with 1 of 'logits': it fixes its batch"),
    (Foreign(), {"labels": ["a", "b"]}, "has 5 classes and there are 2 labels"),
    (Foreign(), {"activation": "sigmoid"}, "ends in softmax itself"),
    (Foreign(), {"layout": "nhwc"}, r"x' is float \[1, 3, 16, 16\], which as NHWC has 16 channels"),
    (Foreign(), {"color": "gray"}, "where its 1 channels are can't be seen"),
    (Foreign(), {"mean": (0.1, 0.2)}, "--mean has 2 numbers; give one, or one for each of 3"),
    (Foreign(), {"std": (0.0,)}, "must be above 0"),
    (Foreign(), {"resize": 8}, "--resize 8 is less than the graph's input, 16x16; use at least 16"),
    (Foreign(), {"size": (8, 8)}, "can't be cropped to 8x8"),
    (Foreign(), {"output": "scores"}, "no output 'scores'; there are: answer"),
    (Foreign(), {"feature_maps": ("rely",)}, "no tensor 'rely'; there are: relu"),
    (Foreign(), {"feature_maps": ("flat",)}, r"'flat' is \[1, 384\] for one image"),
    (Foreign(), {"feature_maps": ("relu=a", "pool=a")}, "the name 'a' is taken"),
    (Foreign(), {"feature_maps": ("relu=logits",)}, "the name 'logits' is taken"),
    (Foreign(ends_in=None), {"activation": "none"}, "don't add up to 1"),
    (answers_with_a_map(), {}, r"output 'answer' is \[1, 6, 8, 8\] for one image, not one number"),
    (other_head("NonZero"), {}, "the shape of the tensor 'answer' can't be inferred"),
    (with_two_inputs(), {}, "must have one input, the image; it has: 'x', 'y'"),
    (mixes_the_batch(), {}, "at batch 2, differs from the original in 'logits'"),
]


@pytest.mark.parametrize(
    ("foreign", "said", "reason"), REFUSED, ids=[f"{reason[:40]}" for _, _, reason in REFUSED]
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    tmp_path: Path, foreign: Foreign, said: dict[str, Any], reason: str
) -> None:
    path = foreign.write(tmp_path)
    with pytest.raises(ExporterError, match=reason):
        import_model(source(path, **said), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_custom_operator_is_named(tmp_path: Path) -> None:
    model = Foreign().model()
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, tmp_path / "custom.onnx")
    with pytest.raises(ExporterError, match=r"uses Relu of the domain 'com\.example'"):
        import_model(source(tmp_path / "custom.onnx"), tmp_path)


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08"])
def test_a_file_that_is_no_graph_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "text.onnx").write_bytes(data)
    with pytest.raises(ExporterError, match="is not an ONNX model"):
        import_model(source(tmp_path / "text.onnx"), tmp_path)


def test_an_altered_copy_of_the_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alter(model: onnx.ModelProto, *rest: Any) -> onnx.ModelProto:
        joined = join(model, *rest)
        (kernel,) = (one for one in joined.graph.initializer if one.name == "model/kernel")
        kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * 1.02, kernel.name))
        return joined

    monkeypatch.setattr("convscope.exporter.foreign.importing.join", alter)
    with pytest.raises(ParityError, match="differs from the original in"):
        import_model(source(Foreign().write(tmp_path)), tmp_path)


# Weights of these files are constants, so that every class is as good as any;
# random ones in the same graphs show that each value arrives at its place.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "densenet121", "inception_v1"])
def test_graphs_of_others_with_random_weights(tmp_path: Path, name: str) -> None:
    path = tmp_path / "random.onnx"
    onnx.save(with_random_weights(onnx.load(LIGHT / f"light_{name}.onnx")), path)
    imported = import_model(source(path, resize=256, scale=1 / 128, mean=(1.0,)), tmp_path)
    assert all(one.difference <= 1e-3 for one in imported.parity)
    photo = preprocess(manifest_of(imported.directory), golden_photos()[1])
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


def test_the_command_publishes_and_says_what_it_found(tmp_path: Path) -> None:
    path = Foreign(channels=1).write(tmp_path)
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\nthree\nfour\nfive\n")
    arguments = ("--color", "gray", "--mean", "0.5", "--std", "1/4", "--labels", str(labels))
    models = tmp_path / "models"
    done = CliRunner().invoke(
        app, ["import", str(path), "--name", "mine", "--repository", str(models), *arguments]
    )
    assert done.exit_code == 0, done.output
    assert "NCHW, 16 × 16 × 1; softmax" in done.stdout
    manifest = manifest_of(models / "mine/1")
    assert list(manifest.labels) == ["one", "two", "three", "four", "five"]
    assert list(manifest.preprocessing.std) == [0.25]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--mean", "a"), "--mean 'a' is no number"),
        (("--scale", "1/0"), "--scale '1/0' is no number"),
        (("--resize", "big"), "--resize 'big' is neither a length in pixels nor exact"),
        (("--crop", "x224"), "--crop 'x224' is no size in pixels"),
        (("--labels", "none.txt"), "the labels in none.txt can't be read"),
    ],
)
def test_a_wrong_option_is_explained(
    tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    path = Foreign().write(tmp_path)
    done = CliRunner().invoke(
        app, ["import", str(path), "--repository", str(tmp_path / "models"), *arguments]
    )
    assert done.exit_code == 1
    assert reason in done.stderr


def test_unknown_names_are_errors_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        import_model(source(Foreign().write(tmp_path), feature_maps=("nothing",)), tmp_path)
