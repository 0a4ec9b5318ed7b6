"""A small convolutional network.

Change it freely. The exporter calls `network` with the number of classes of the dataset and the
channels of the input. The module takes float32 images [N, channels, height, width], already
normalized, and returns logits [N, num_classes]. It must not end in a softmax.
"""

from collections import OrderedDict

from torch import nn


def network(num_classes: int, in_channels: int) -> nn.Module:
    """Three convolutions, each at half the resolution of the one before, and a linear layer."""
    layers = {  # the names of the stages become those of the feature maps
        "stage1": stage(in_channels, 16),
        "pool1": nn.MaxPool2d(2),
        "stage2": stage(16, 32),
        "pool2": nn.MaxPool2d(2),
        "stage3": stage(32, 64),
        "pool3": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "head": nn.Linear(64, num_classes),
    }
    return nn.Sequential(OrderedDict(layers))


def stage(channels: int, filters: int) -> nn.Module:
    """A convolution of 3x3, normalized, and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
    )
