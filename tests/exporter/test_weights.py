from pathlib import Path

import pytest
import timm
import torch

from convscope.exporter.architectures import find_architecture
from convscope.exporter.errors import WeightsError
from convscope.exporter.weights import load_efficientnet_lite0


def test_pytorch_sees_the_espresso(coffee: Path) -> None:
    row = find_architecture("efficientnet_lite0")
    preprocessing, labels = row.preprocessing(), row.labels()
    network = row.build(len(labels))
    load_efficientnet_lite0(network)
    planes = torch.from_numpy(preprocessing.prepare(coffee.read_bytes())).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    with torch.inference_mode():
        probabilities = network.eval()(((planes - mean) / std)[None]).softmax(1)[0]
    assert labels[int(probabilities.argmax())] == "espresso"
    assert probabilities.max() >= 0.90


def test_weights_that_do_not_fit_name_the_tensors() -> None:
    other = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=7)
    with pytest.raises(WeightsError, match=r"classifier.weight \[7, 1280\]"):
        load_efficientnet_lite0(other)
