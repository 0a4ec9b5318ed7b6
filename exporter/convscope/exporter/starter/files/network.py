"""A small convolutional network.

Change it freely. The exporter calls `network` with the number of classes of the dataset and the
channels of the input. The module takes float32 images [N, channels, height, width], already
normalized, and returns logits [N, num_classes]. It must not end in a softmax.
"""

from collections import OrderedDict

from torch import nn


def network(num_classes: int, in_channels: int) -> nn.Module:
    """Three stages of convolutions, each at half the resolution, and a linear layer."""
    layers = {  # the names of the stages become those of the feature maps
        "stage1": stage(in_channels, 16),
        "stage2": stage(16, 32),
        "stage3": stage(32, 64),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "head": nn.Linear(64, num_classes),
    }
    return nn.Sequential(OrderedDict(layers))


def stage(channels: int, filters: int) -> nn.Module:
    """A convolution of 3x3, and a maximum over 2x2."""
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
