"""Random small networks: a bundle returns the original's probabilities, or it is rejected.

The expected probabilities follow from the original's own final output and from the
end that the test gave it. Nothing of the exporter computes them.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageEnhance
from support.foreign_models import manifest_of, run_bundle, source
from torch import Tensor, nn

from convscope.exporter.architectures.weights import Weights
from convscope.exporter.bundles.reader import preprocess
from convscope.exporter.conversion.convert import convert
from convscope.exporter.conversion.golden import golden_noise
from convscope.exporter.conversion.photos import golden_photos
from convscope.exporter.conversion.source import Source
from convscope.exporter.errors import ExporterError
from convscope.exporter.foreign.importing import ForeignSource, import_model
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.preprocessing.resizing import ShortestEdge

Floats = NDArray[np.floating]
Function = Callable[[Floats], Floats]

PHOTOS = 20
TOLERANCE = 1e-3
IMPORTS, EXPORTS = 35, 11
# The share that must be published, so that the test can't pass by rejections alone.
MIN_PUBLISHED = 0.8

ENDS = ("none", "softmax", "sigmoid", "log-softmax", "logit", "probability", "grouped")
OUTPUTS = {"logit": 1, "probability": 1, "grouped": 6}


def softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)))


def both(values: Floats) -> Floats:
    return np.concatenate([1 - values, values], axis=1)


def keep(values: Floats) -> Floats:
    return values


EXPECTED: dict[str, Function] = {
    "none": softmax,
    "softmax": keep,
    "sigmoid": keep,
    "log-softmax": np.exp,
    "logit": lambda values: both(sigmoid(values)),
    "probability": both,
    "grouped": keep,
}


def some_photos() -> list[bytes]:
    """Cut photos from the exporter's own, different in size, place and brightness."""
    random = np.random.default_rng(5)
    opened = [Image.open(io.BytesIO(one)).convert("RGB") for one in golden_photos()]
    encoded = []
    for index in range(PHOTOS):
        photo = opened[index % len(opened)]
        width, height = (int(side * random.uniform(0.4, 0.9)) for side in photo.size)
        left = int(random.integers(0, photo.width - width))
        top = int(random.integers(0, photo.height - height))
        cut = photo.crop((left, top, left + width, top + height))
        cut.thumbnail((160, 160))  # a large photo takes as long as a whole import
        out = io.BytesIO()
        ImageEnhance.Brightness(cut).enhance(random.uniform(0.6, 1.3)).save(out, "PNG")
        encoded.append(out.getvalue())
    return encoded


def served(directory: Path, photos: list[bytes]) -> Floats:
    """Return the bundle's probabilities, in batches of 5."""
    images = np.stack([preprocess(manifest_of(directory), photo) for photo in photos])
    parts = [
        run_bundle(directory, images[start : start + 5])["probabilities"]
        for start in range(0, len(images), 5)
    ]
    return np.concatenate(parts)


def check_sentence(error: ExporterError) -> None:
    text = str(error)
    assert len(text) > 30
    assert "\n" not in text
    assert "Traceback" not in text


def per_channel(
    mean: float, std: float, channels: int, step: float = 0.1
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation of each channel; none is added if the mean is 0."""
    step = step if mean else 0.0
    return (
        tuple(mean + step * index for index in range(channels)),
        tuple(std * (1 + step * index) for index in range(channels)),
    )


class Drawn:
    """One random foreign graph with its preprocessing."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.end = ENDS[seed % len(ENDS)]
        self.outputs = OUTPUTS.get(self.end, int(random.integers(2, 7)))
        self.nchw = bool(random.integers(2))
        self.color = str(random.choice(["rgb", "bgr", "gray"]))
        self.channels = 1 if self.color == "gray" else 3
        self.element = int(
            random.choice(
                [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8]
            )
        )
        self.size = (int(random.integers(12, 24)), int(random.integers(12, 24)))
        self.batch = int(random.choice([0, 1, 3]))
        self.scale, mean, std = [
            (1.0, 0.0, 1.0),
            (1 / 255, 0.45, 0.22),
            (1 / 127.5, 1.0, 1.0),
            (1 / 255, 0.0, 1.0),
        ][0 if self.element == TensorProto.UINT8 else int(random.integers(1, 4))]
        # A half-precision network amplifies the rounding of its normalized input.
        is_half = self.element == TensorProto.FLOAT16
        self.mean, self.std = per_channel(mean, std, self.channels, 0.0 if is_half else 0.1)
        self.random = random

    def source(self, path: Path) -> ForeignSource:
        return source(
            path,
            color=self.color,
            layout="nchw" if self.nchw else "nhwc",
            scale=self.scale,
            mean=self.mean,
            std=self.std,
        )

    def model(self) -> onnx.ModelProto:
        is_half = self.element == TensorProto.FLOAT16
        work = TensorProto.FLOAT16 if is_half else TensorProto.FLOAT
        dtype = helper.tensor_dtype_to_np_dtype(work)
        spread = 0.01 if self.element == TensorProto.UINT8 else 1.0
        kernel = self.random.normal(0, 0.4 * spread, (6, self.channels, 3, 3))
        dense = self.random.normal(0, 2, (6, self.outputs))
        weights = {"kernel": kernel.astype(dtype), "dense": dense.astype(dtype)}
        node = helper.make_node
        nodes = [] if self.nchw else [node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2])]
        nodes += [
            node("Cast", ["x" if self.nchw else "planes"], ["cast"], to=work),
            node("Conv", ["cast", "kernel"], ["conv"]),
            node("Relu", ["conv"], ["relu"]),
            node("GlobalAveragePool", ["relu"], ["pool"]),
            node("Flatten", ["pool"], ["flat"]),
            node("MatMul", ["flat", "dense"], ["scores"]),
            *self._end(weights),
        ]
        sides = [self.channels, *self.size] if self.nchw else [*self.size, self.channels]
        batch = self.batch or "N"
        graph = helper.make_graph(
            nodes,
            "drawn",
            [helper.make_tensor_value_info("x", self.element, [batch, *sides])],
            [helper.make_tensor_value_info("answer", work, None)],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        opsets = [helper.make_opsetid("", int(self.random.integers(13, 21)))]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _end(self, weights: dict[str, NDArray[np.generic]]) -> list[onnx.NodeProto]:
        kinds = {"softmax": "Softmax", "sigmoid": "Sigmoid", "log-softmax": "LogSoftmax"}
        if self.end in kinds:
            return [helper.make_node(kinds[self.end], ["scores"], ["answer"])]
        if self.end == "probability":
            return [
                helper.make_node("Sigmoid", ["scores"], ["each"]),
                helper.make_node("Squeeze", ["each"], ["answer"]),
            ]
        if self.end == "grouped":
            weights |= {"split": np.array([-1, 3, 2]), "flat_again": np.array([-1, 6])}
            return [
                helper.make_node("Reshape", ["scores", "split"], ["groups"]),
                helper.make_node("Softmax", ["groups"], ["each"], axis=2),
                helper.make_node("Reshape", ["each", "flat_again"], ["answer"]),
            ]
        return [helper.make_node("Identity", ["scores"], ["answer"])]

    def expected(self, path: Path, photos: list[bytes]) -> Floats:
        """Run the file itself on photos that Pillow and NumPy prepare."""
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        height, width = self.size
        side = max(self.size)
        prepare = ImagePreprocessing(
            height, width, (0.0,) * self.channels, (1.0,) * self.channels, resize=ShortestEdge(side)
        ).prepare
        rows = []
        for photo in photos:
            pixels = prepare(photo).astype(np.float64)
            pixels = pixels[..., ::-1] if self.color == "bgr" else pixels
            values = (pixels * self.scale - np.array(self.mean)) / np.array(self.std)
            values = values.transpose(2, 0, 1) if self.nchw else values
            batch = np.stack([values] * (self.batch or 1))
            batch = batch.astype(helper.tensor_dtype_to_np_dtype(self.element))
            (output,) = session.run(["answer"], {"x": batch})
            rows.append(np.asarray(output).reshape(len(batch), -1)[0])
        return EXPECTED[self.end](np.stack(rows).astype(np.float64))


@pytest.mark.slow(seconds=25)
def test_imports_return_the_originals_probabilities_or_are_rejected(tmp_path: Path) -> None:
    photos, published = some_photos(), 0
    for seed in range(IMPORTS):
        drawn, path = Drawn(seed), tmp_path / f"{seed}.onnx"
        onnx.save(drawn.model(), path)
        try:
            directory = import_model(drawn.source(path), tmp_path / str(seed)).directory
        except ExporterError as error:
            check_sentence(error)
            continue
        published += 1
        assert drawn.end != "grouped"
        np.testing.assert_allclose(
            served(directory, photos),
            drawn.expected(path, photos),
            atol=TOLERANCE,
            err_msg=str(seed),
        )
    assert published >= MIN_PUBLISHED * IMPORTS


class DrawnNetwork(nn.Module):
    """One random PyTorch network."""

    def __init__(self, seed: int, channels: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.name = ENDS[seed % len(ENDS)]
        self.outputs = OUTPUTS.get(self.name, 2 + seed % 5)
        self.conv = nn.Conv2d(channels, 6, 3, stride=1 + seed % 2)
        self.dense = nn.Linear(6, self.outputs)
        with torch.no_grad():
            self.dense.weight *= 8
        self.is_double = seed % 3 == 2
        if self.is_double:
            self.dense.double()

    def forward(self, planes: Tensor) -> Tensor:
        means = self.conv(planes).relu().mean((2, 3))
        scores: Tensor = self.dense(means.double() if self.is_double else means)
        match self.name:
            case "softmax":
                return scores.softmax(1)
            case "sigmoid":
                return scores.sigmoid()
            case "log-softmax":
                return nn.functional.log_softmax(scores, 1)
            case "probability":
                return scores.sigmoid().squeeze(1)
            case "grouped":
                return scores.reshape(-1, 3, 2).softmax(2).reshape(-1, 6)
        return scores


def network_source(seed: int) -> Source:
    random = np.random.default_rng(seed)
    channels = int(random.choice([1, 3]))
    network = DrawnNetwork(seed, channels)
    height, width = int(random.integers(12, 24)), int(random.integers(12, 24))
    edge = max(height, width) + int(random.integers(0, 8))
    normalization = [(0.0, 1.0), (0.45, 0.22), (0.5, 0.5)][int(random.integers(3))]
    mean, std = per_channel(*normalization, channels)
    expects = ImagePreprocessing(height, width, mean, std, resize=ShortestEdge(edge))
    classes = 2 if network.outputs == 1 else network.outputs
    return Source(
        model="drawn",
        version=1,
        architecture="drawn",
        network=network,
        preprocessing=expects,
        labels=[str(index) for index in range(classes)],
        feature_maps=("conv",),
        weights=Weights("random", "", ""),
        golden=golden_noise(expects),
    )


def pytorch(source: Source, photos: list[bytes]) -> Floats:
    rule = source.preprocessing
    pixels = np.stack([rule.prepare(photo) for photo in photos])
    normal = (pixels / 255 - np.array(rule.mean)) / np.array(rule.std)
    planes = torch.from_numpy(normal.transpose(0, 3, 1, 2)).float()
    with torch.inference_mode():
        output: Floats = source.network.eval()(planes).double().numpy()
    return output.reshape(len(photos), -1)


@pytest.mark.slow(seconds=25)
def test_exports_return_the_originals_probabilities_or_are_rejected(tmp_path: Path) -> None:
    photos, published = some_photos(), 0
    for seed in range(EXPORTS):
        drawn = network_source(seed)
        end = drawn.network.name
        try:
            directory = convert(drawn, tmp_path / str(seed)).directory
        except ExporterError as error:
            check_sentence(error)
            continue
        published += 1
        assert end != "grouped"
        expected = EXPECTED[str(end)](pytorch(drawn, photos))
        np.testing.assert_allclose(
            served(directory, photos), expected, atol=TOLERANCE, err_msg=str(seed)
        )
    assert published >= MIN_PUBLISHED * EXPORTS
