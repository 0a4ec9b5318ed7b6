"""Export a network of timm with random weights. Its speed doesn't depend on the weights.

Usage: python -m bench.make_network NAME REPOSITORY
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
from convscope.exporter.preprocessing.resizing import ShortestEdge

CLASSES = 1000
# Random weights give nearly equal outputs. Larger weights in the head separate the classes.
HEAD_GAIN = 100.0
TIMM_NAMES = {"mobilenet_v2": "mobilenetv2_100"}
FEATURE_MAPS = {"resnet50": ("layer1", "layer2", "layer3", "layer4")}


def main(name: str, repository: Path) -> None:
    """Publish version 1 of a network."""
    torch.manual_seed(0)
    timm_name = TIMM_NAMES.get(name, name)
    network = timm.create_model(timm_name, pretrained=False, num_classes=CLASSES)
    with torch.no_grad():
        network.get_classifier().weight *= HEAD_GAIN
    record = timm.get_pretrained_cfg(timm_name)
    convert(
        Source(
            model=name,
            version=1,
            architecture=name,
            network=network,
            preprocessing=ImagePreprocessing(
                height=224,
                width=224,
                mean=tuple(record.mean),
                std=tuple(record.std),
                interpolation="bilinear",
                resize=ShortestEdge(256),
            ),
            labels=[f"class {index}" for index in range(CLASSES)],
            feature_maps=FEATURE_MAPS.get(name, ()),
            weights=Weights("random", "CC0-1.0", "none"),
            golden=golden_photos(),
        ),
        repository,
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
