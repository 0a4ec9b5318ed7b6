"""The bundles that a section uses."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.context import ROOT
from bench.hardware.check import Check, SkippedError
from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.reader import Bundle, read_bundle
from convscope.server.runtime.graph import without_heat
from convscope.v1 import inference_pb2, manifest_pb2

__all__ = ["Tested", "find", "image_classifiers", "one", "only"]

PHOTO = ROOT / "tests" / "data" / "coffee.png"
# Their speed is the most interesting; others replace them where they are missing.
PREFERRED = ("resnet50", "efficientnet_lite0", "vgg16", "digits")


@dataclass(frozen=True, slots=True)
class Tested:
    """A bundle under test.

    Args:
        directory: Its directory.
        bundle: Its files.
    """

    directory: Path
    bundle: Bundle

    @property
    def name(self) -> str:
        """Return the name of the model."""
        return self.bundle.manifest.model

    def __str__(self) -> str:
        return self.name

    @property
    def is_image(self) -> bool:
        """Return whether the input is an image."""
        return self.bundle.manifest.input.kind == manifest_pb2.INPUT_KIND_IMAGE

    @property
    def classifies(self) -> bool:
        """Return whether the bundle has classes."""
        return self.bundle.manifest.task == manifest_pb2.TASK_CLASSIFICATION

    @property
    def feature_maps(self) -> list[str]:
        """Return the names of the feature maps."""
        return [spec.name for spec in self.bundle.manifest.feature_maps]

    @property
    def outputs(self) -> list[str]:
        """Return the names of all outputs but the explanation."""
        manifest = self.bundle.manifest
        return without_heat(manifest, feature_maps=True) if self.classifies else self.feature_maps

    def inputs(self, count: int) -> NDArray[np.generic]:
        """Return a photo and noise as images, or noise as tensors; [N, ...]."""
        random = np.random.default_rng(0)
        shape = tuple(self.bundle.manifest.input.shape)
        if not self.is_image:
            return random.standard_normal((count, *shape)).astype(np.float32)
        noise = random.integers(0, 256, (count, *shape), np.uint8)
        height, width, channels = shape
        with Image.open(PHOTO) as photo:
            mode = "L" if channels == 1 else "RGB"
            resized = photo.convert(mode).resize((width, height), Image.Resampling.BICUBIC)
        noise[0] = np.asarray(resized).reshape(shape)
        return noise

    def tensor_request(self, count: int) -> bytes:
        """Serialize a call with a number of tensors."""
        arrays = self.inputs(count)
        spec = self.bundle.manifest.input
        tensors = [
            inference_pb2.Tensor(dtype=spec.dtype, shape=spec.shape, data=array.tobytes())
            for array in arrays
        ]
        inputs = [inference_pb2.Input(tensor=tensor) for tensor in tensors]
        return inference_pb2.ClassifyRequest(model=self.name, inputs=inputs).SerializeToString()

    def jpeg_request(self, photo: bytes, count: int) -> bytes:
        """Serialize a call with a number of JPEGs."""
        inputs = [inference_pb2.Input(encoded_image=photo)] * count
        return inference_pb2.ClassifyRequest(model=self.name, inputs=inputs).SerializeToString()


def find(check: Check) -> list[Tested]:
    """Return the bundles, the smallest first; without damaged ones, which fail in the gates.

    Raises:
        SkippedError: There are none.
    """
    found = []
    for manifest in check.repository.glob("*/*/manifest.json"):
        with contextlib.suppress(BundleRejectedError):
            found.append(Tested(manifest.parent, read_bundle(manifest.parent)))
    if not found:
        raise SkippedError("there is no bundle; the section bundles has the reason")
    return sorted(found, key=lambda each: (each.directory / "model.onnx").stat().st_size)


def image_classifiers(check: Check) -> list[Tested]:
    """Return the classifiers of images, the most interesting first.

    Raises:
        SkippedError: There are none.
    """
    found = [each for each in find(check) if each.is_image and each.classifies]
    if not found:
        raise SkippedError("there is no classifier of images")
    order = {name: place for place, name in enumerate(PREFERRED)}
    return sorted(found, key=lambda each: order.get(each.name, len(order)))


def one(check: Check, name: str) -> Tested:
    """Return a model.

    Raises:
        SkippedError: It is not among the bundles.
    """
    for each in find(check):
        if each.name == name:
            return each
    raise SkippedError(f"there is no bundle of {name}")


def only(check: Check, tested: Tested, purpose: str) -> Path:
    """Return a repository with version 1 of this model and nothing else."""
    root = check.scratch / purpose / tested.name
    if not root.exists():
        shutil.copytree(tested.directory, root / tested.name / tested.directory.name)
    return root
