"""A BentoML service."""

import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from classifier import MODELS, Classifier
from PIL.Image import Image


@bentoml.service(
    workers=int(os.environ["BENCH_WORKERS"]),
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
)
class Bench:
    """A service with an endpoint for each kind of request."""

    def __init__(self) -> None:
        self._classifiers = {work: Classifier(work) for work in MODELS}

    @bentoml.api
    def jpeg(self, image: Image) -> dict[str, Any]:
        """Decode at full size and classify."""
        return self._answer("jpeg", self._classifiers["jpeg"].prepare(image))

    @bentoml.api
    def jpeg_draft(self, image: Image) -> dict[str, Any]:
        """Decode to scale and classify."""
        return self._answer("jpeg_draft", self._classifiers["jpeg_draft"].prepare(image))

    @bentoml.api
    def tensor(self, image: Path) -> dict[str, Any]:
        """Classify pixels in the graph's input shape."""
        return self._answer("tensor", self._classifiers["tensor"].tensor(image.read_bytes()))

    @bentoml.api
    def tiny(self, image: Path) -> dict[str, Any]:
        """Classify a digit."""
        return self._answer("tiny", self._classifiers["tiny"].tensor(image.read_bytes()))

    def _answer(self, work: str, image: Any) -> dict[str, Any]:
        classes, probabilities = self._classifiers[work].classify(image[np.newaxis])
        return {"classes": classes[0].tolist(), "probabilities": probabilities[0].tolist()}
