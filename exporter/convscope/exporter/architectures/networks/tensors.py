"""Small networks for signals and clips."""

from torch import nn

__all__ = ["clip_conv", "signal_conv"]


def _block(convolution: nn.Module, norm: nn.Module, pool: nn.Module) -> nn.Module:
    return nn.Sequential(convolution, norm, nn.ReLU(), pool)


def signal_conv(classes: int, channels: int) -> nn.Module:
    """Return three stages of 1-D convolutions and a mean over the signal of 8 values or more."""
    network = nn.Sequential()
    for stage, (inputs, outputs) in enumerate(((channels, 16), (16, 32), (32, 64)), start=1):
        convolution = nn.Conv1d(inputs, outputs, 7, padding=3)
        block = _block(convolution, nn.BatchNorm1d(outputs), nn.MaxPool1d(2))
        network.add_module(f"stage{stage}", block)
    network.add_module("mean", nn.AdaptiveAvgPool1d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("dense", nn.Linear(64, classes))
    return network


def clip_conv(classes: int, channels: int) -> nn.Module:
    """Return three stages of 3-D convolutions and a mean over the clip."""
    network = nn.Sequential()
    for stage, (inputs, outputs) in enumerate(((channels, 16), (16, 32), (32, 64)), start=1):
        convolution = nn.Conv3d(inputs, outputs, 3, padding=1)
        # The first stage keeps all frames, because most clips are short.
        pool = nn.MaxPool3d((1, 2, 2) if stage == 1 else 2)
        block = _block(convolution, nn.BatchNorm3d(outputs), pool)
        network.add_module(f"stage{stage}", block)
    network.add_module("mean", nn.AdaptiveAvgPool3d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("dense", nn.Linear(64, classes))
    return network
