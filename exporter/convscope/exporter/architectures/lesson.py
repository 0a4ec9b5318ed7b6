"""The registry rows of the teaching networks, from a perceptron to LeNet."""

from dataclasses import replace
from functools import partial

from convscope.exporter.architectures.registry import Architecture, deferred
from convscope.exporter.preprocessing import ImagePreprocessing

__all__ = ["ROWS"]

# The mean and standard deviation of the training images of MNIST and of CIFAR-10.
_GRAY = ((0.1307,), (0.3081,))
_COLOR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def _input(side: int, channels: int) -> ImagePreprocessing:
    mean, std = _GRAY if channels == 1 else _COLOR
    return ImagePreprocessing(height=side, width=side, mean=mean, std=std)


_MULTI_CONV = Architecture(
    name="multi_conv",
    summary="10 filters of 5×5, pool, 20 filters of 5×5, pool, dense layer",
    make=deferred("lesson", "multi_conv"),
    expects=partial(_input, 28),
    channels=(1,),
    feature_maps=("conv1", "pool1", "conv2", "pool2"),
    dataset="mnist",
    learning_rate=8e-3,  # these networks are small and start from random weights
)

ROWS = (
    replace(
        _MULTI_CONV,
        name="perceptron",
        summary="one dense layer, as a baseline",
        make=deferred("lesson", "perceptron"),
        feature_maps=(),
        learning_rate=2e-3,
        augment=False,
    ),
    replace(
        _MULTI_CONV,
        name="one_conv",
        summary="9 filters of 5×5, dense layer",
        make=deferred("lesson", "one_conv"),
        feature_maps=("conv",),
        augment=False,
    ),
    _MULTI_CONV,
    replace(
        _MULTI_CONV,
        name="digits",
        summary="multi_conv, trained on the MNIST sample that comes with the exporter",
        dataset="mnist_sample",
    ),
    replace(
        _MULTI_CONV,
        name="lenet",
        summary="6, 16 and 120 filters of 5×5, pools between them, 2 dense layers",
        make=deferred("lesson", "lenet"),
        expects=partial(_input, 32),
        channels=(3, 1),
    ),
)
