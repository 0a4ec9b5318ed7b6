"""The registry rows of the networks for signals and clips."""

from convscope.exporter.architectures.registry import Architecture, deferred
from convscope.exporter.preprocessing import TensorInput

__all__ = ["ROWS"]

SIGNAL_SHAPE = (256,)  # length
CLIP_SHAPE = (8, 32, 32)  # frames, height, width


def _row(name: str, summary: str, shape: tuple[int, ...]) -> Architecture:
    return Architecture(
        name=name,
        summary=summary,
        make=deferred("tensors", name),
        expects=lambda channels: TensorInput((channels, *shape)),
        channels=(),
        feature_maps=("stage1", "stage2", "stage3"),
        learning_rate=5e-3,
        augment=False,
    )


ROWS = (
    _row("signal_conv", "a small 1-D CNN", SIGNAL_SHAPE),
    _row("clip_conv", "a small 3-D CNN", CLIP_SHAPE),
)
