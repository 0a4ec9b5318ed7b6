"""Export a ResNet-50 with random weights. Its speed doesn't depend on the weights.

Usage: python -m bench.make_resnet50 REPOSITORY
"""

import sys
from pathlib import Path

import timm
import torch

from convscope.exporter.architectures.weights import Weights
from convscope.exporter.conversion.convert import convert
from convscope.exporter.conversion.photos import golden_photos
from convscope.exporter.conversion.source import Source
from convscope.exporter.preprocessing import ImagePreprocessing

CLASSES = 1000
# Random weights give nearly equal outputs. Larger weights in the head separate the classes.
HEAD_GAIN = 100.0


def main(repository: Path) -> None:
    """Publish version 1 of resnet50."""
    torch.manual_seed(0)
    network = timm.create_model("resnet50", pretrained=False, num_classes=CLASSES)
    with torch.no_grad():
        network.fc.weight *= HEAD_GAIN
    record = timm.get_pretrained_cfg("resnet50")
    convert(
        Source(
            model="resnet50",
            version=1,
            architecture="resnet50",
            network=network,
            preprocessing=ImagePreprocessing(
                height=224,
                width=224,
                mean=tuple(record.mean),
                std=tuple(record.std),
                interpolation="bilinear",
                shortest_edge=256,
            ),
            labels=[f"class {index}" for index in range(CLASSES)],
            feature_maps=("layer1", "layer2", "layer3", "layer4"),
            weights=Weights("random", "CC0-1.0", "none"),
            golden=golden_photos(),
        ),
        repository,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
