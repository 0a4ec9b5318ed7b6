"""A model of Triton's Python backend."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import triton_python_backend_utils as pb_utils
from classifier import Classifier


class TritonPythonModel:
    """Serves one kind of request, which the model's name states."""

    def initialize(self, args: dict[str, Any]) -> None:
        """Load the model."""
        self._work = args["model_name"]
        self._classifier = Classifier(self._work)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Process requests in one run."""
        arrays = [self._read(request) for request in requests]
        classes, probabilities = self._classifier.classify(np.concatenate(arrays))
        responses, start = [], 0
        for array in arrays:
            rows = slice(start, start + len(array))
            start += len(array)
            responses.append(self._respond(classes[rows], probabilities[rows]))
        return responses

    def _read(self, request: Any) -> Any:
        value = pb_utils.get_input_tensor_by_name(request, "input").as_numpy()
        if self._work == "tiny":
            return value  # uint8 [n, 28, 28, 1]
        image = value if self._work == "tensor" else self._classifier.decode(value.tobytes())
        return image[np.newaxis]

    def _respond(self, classes: Any, probabilities: Any) -> Any:
        if self._work != "tiny":  # without a batch dimension
            classes, probabilities = classes[0], probabilities[0]
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("classes", classes), pb_utils.Tensor("probabilities", probabilities)]
        )
