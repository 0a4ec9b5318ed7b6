"""The classifier of every peer's app; runs in the environment of the peer."""

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

TOP = 5
MODELS = {
    "jpeg": "efficientnet_lite0",
    "jpeg_draft": "efficientnet_lite0",
    "tensor": "efficientnet_lite0",
    "tiny": "digits",
}
_FILTERS = {
    "INTERPOLATION_BILINEAR": Image.Resampling.BILINEAR,
    "INTERPOLATION_BICUBIC": Image.Resampling.BICUBIC,
}


class Classifier:
    """A model of the bench for one kind of request, with one thread.

    Args:
        work: The kind: jpeg, jpeg_draft, tensor or tiny.
    """

    def __init__(self, work: str) -> None:
        bundle = Path(os.environ["BENCH_MODELS"]) / MODELS[work] / "1"
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        graph = str(bundle / "model.onnx")
        self.session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._explains = any(one.name == "classes" for one in self.session.get_inputs())
        manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
        self.shape = tuple(int(size) for size in manifest["input"]["shape"])
        self._rule = manifest["preprocessing"]
        self._draft = work == "jpeg_draft"

    def tensor(self, data: bytes) -> NDArray[np.uint8]:
        """View bytes as the graph's input; uint8 [H, W, C]."""
        return np.frombuffer(data, np.uint8).reshape(self.shape)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a JPEG; uint8 [H, W, C]."""
        return self.prepare(Image.open(BytesIO(data)))

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop a picture; uint8 [H, W, C]."""
        edge = self._rule["resize"]["shortest_edge"]
        if self._draft:
            image.draft("RGB", (edge, edge))
        image = image.convert("RGB")
        scale = edge / min(image.size)
        size = int(image.width * scale + 1e-6), int(image.height * scale + 1e-6)
        image = image.resize(size, _FILTERS[self._rule["interpolation"]])
        height, width, _ = self.shape
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        return np.asarray(image.crop((left, top, left + width, top + height)))

    def classify(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the top classes of each image and their probabilities, both [N, 5]."""
        feed: dict[str, NDArray[Any]] = {"images": images}
        if self._explains:  # the heat isn't used, and costs nearly nothing
            feed["classes"] = np.zeros((len(images), 1), np.int64)
        (probabilities,) = self.session.run(["probabilities"], feed)
        best = np.argsort(-probabilities, axis=1)[:, :TOP]
        return best, np.take_along_axis(probabilities, best, axis=1)
