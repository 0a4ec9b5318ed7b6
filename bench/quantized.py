"""INT8 graphs of the bench's bundles, and the photos that calibrate them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bench.bundles import bundle
from bench.context import Bench
from bench.explained_photos import found
from convscope.exporter.bundles.reader import open_bundle
from convscope.exporter.explanations.removal import remove_explanation
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.quantization.network import CalibratedNetwork, calibrate

__all__ = ["calibrated", "photos", "write_int8"]

CROPS = 20  # of each photo
_PROBABILITIES = "probabilities"


def photos(directory: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return crops of photos as a model takes them, uint8 [n, H, W, C]: two halves of the photos.

    No photo has crops in both halves.
    """
    rule = ImagePreprocessing.of_manifest(open_bundle(directory).manifest)
    paths = found()
    first, second = (np.stack(list(_crops(paths[start::2], rule))) for start in (0, 1))
    return first, second


def _crops(paths: Sequence[Path], rule: ImagePreprocessing) -> Iterator[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    for path in paths:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        for _ in range(CROPS):
            width, height = (round(side * random.uniform(0.6, 1)) for side in image.size)
            left = int(random.integers(0, image.width - width + 1))
            top = int(random.integers(0, image.height - height + 1))
            yield rule.prepare_image(image.crop((left, top, left + width, top + height)))


def calibrated(
    directory: Path, inputs: NDArray[np.generic]
) -> tuple[onnx.ModelProto, CalibratedNetwork]:
    """Return the graph of a bundle in FP32, and the same with its calibration."""
    opened = open_bundle(directory)
    original = onnx.load_model_from_string(opened.read_graph())
    remove_explanation(original)
    copy = onnx.ModelProto()
    copy.CopyFrom(original)
    explained = opened.manifest.explanation.tensor or None
    return original, calibrate(copy, inputs, explained)


def write_int8(bench: Bench, model: str) -> Path:
    """Write the INT8 graph of a model with the probabilities as its only output.

    Every layer before the head is quantized, whatever the guard would say of random weights.
    """
    path = bench.scratch / f"{model}-int8.onnx"
    if not path.exists():
        directory = bundle(bench, model)
        inputs, _ = photos(directory)
        _, network = calibrated(directory, inputs[:: max(1, len(inputs) // 24)])
        quantized = network.quantized()
        kept = [value for value in quantized.graph.output if value.name == _PROBABILITIES]
        del quantized.graph.output[:]
        quantized.graph.output.extend(kept)
        onnx.save(quantized, path)
    return path
