"""A custom runtime of MLServer."""

import numpy as np
from classifier import Classifier
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class BenchRuntime(MLModel):
    """Serves one kind of request, which the model's name states."""

    async def load(self) -> bool:
        """Load the model."""
        self._classifier = Classifier(self.name)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Process one request."""
        (data,) = payload.inputs[0].data.root
        read = self._classifier.decode if self.name.startswith("jpeg") else self._classifier.tensor
        classes, probabilities = self._classifier.classify(read(data)[np.newaxis])
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(
                    name="classes", datatype="INT64", shape=[5], data=classes[0].tolist()
                ),
                ResponseOutput(
                    name="probabilities", datatype="FP32", shape=[5], data=probabilities[0].tolist()
                ),
            ],
        )
