"""Small networks for what isn't an image: signals and clips."""

from torch import nn

from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.preprocess import TensorInput

__all__ = ["ROWS"]

SIGNAL_LENGTH = 256
CLIP_SHAPE = (8, 32, 32)  # frames, height, width


def _block(convolution: nn.Module, norm: nn.Module, pool: nn.Module) -> nn.Module:
    return nn.Sequential(convolution, norm, nn.ReLU(), pool)


def signal_conv(classes: int, channels: int) -> nn.Module:
    """Three stages of 1-D convolutions, then the mean over the signal; takes any length from 8."""
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
    """Three stages of 3-D convolutions, then the mean over the clip."""
    network = nn.Sequential()
    for stage, (inputs, outputs) in enumerate(((channels, 16), (16, 32), (32, 64)), start=1):
        convolution = nn.Conv3d(inputs, outputs, 3, padding=1)
        # The first stage keeps all frames: most clips are short.
        pool = nn.MaxPool3d((1, 2, 2) if stage == 1 else 2)
        block = _block(convolution, nn.BatchNorm3d(outputs), pool)
        network.add_module(f"stage{stage}", block)
    network.add_module("mean", nn.AdaptiveAvgPool3d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("dense", nn.Linear(64, classes))
    return network


_STAGES = ("stage1", "stage2", "stage3")

ROWS = (
    Architecture(
        name="signal_conv",
        summary="a small 1-D CNN",
        make=signal_conv,
        expects=lambda channels: TensorInput((channels, SIGNAL_LENGTH)),
        channels=(),
        feature_maps=_STAGES,
        learning_rate=5e-3,
        augment=False,
    ),
    Architecture(
        name="clip_conv",
        summary="a small 3-D CNN",
        make=clip_conv,
        expects=lambda channels: TensorInput((channels, *CLIP_SHAPE)),
        channels=(),
        feature_maps=_STAGES,
        learning_rate=5e-3,
        augment=False,
    ),
)
