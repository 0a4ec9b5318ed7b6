"""A LitServe app. Usage: python litserve_app.py PORT."""

import os
import sys
from typing import Any

import litserve
import numpy as np
from classifier import MODELS, Classifier
from fastapi import Request


class BenchAPI(litserve.LitAPI):
    """Serves one kind of request, which the path names."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self._work = self.api_path.strip("/")
        self._classifier = Classifier(self._work)

    def decode_request(self, request: Request) -> Any:
        """Return the graph's input, uint8 [H, W, C]."""
        form: Any = request  # LitServe already parsed it
        data = form["image"].file.read()
        jpeg = self._work.startswith("jpeg")
        return self._classifier.decode(data) if jpeg else self._classifier.tensor(data)

    def predict(self, image: Any) -> Any:
        """Run the network."""
        return self._classifier.classify(image[np.newaxis])

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the top classes."""
        classes, probabilities = output
        return {"classes": classes[0].tolist(), "probabilities": probabilities[0].tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        [BenchAPI(api_path=f"/{work}") for work in MODELS],
        accelerator="cpu",
        workers_per_device=int(os.environ["BENCH_WORKERS"]),
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=int(os.environ["BENCH_WORKERS"]),
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
