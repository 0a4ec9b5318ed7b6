"""The networks of the classic lesson on convolutional networks."""

from torch import nn

from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.preprocess import ImagePreprocessing

__all__ = ["ROWS"]

# Of the training images of MNIST, and of CIFAR-10.
_GRAY = ((0.1307,), (0.3081,))
_COLOR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def _stack(**layers: nn.Module) -> nn.Module:
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


def _convolution(inputs: int, filters: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, filters, 5), nn.ReLU())


def perceptron(classes: int, channels: int) -> nn.Module:
    """One dense layer: every pixel votes for every class."""
    return _stack(flatten=nn.Flatten(), dense=nn.Linear(channels * 28 * 28, classes))


def one_conv(classes: int, channels: int) -> nn.Module:
    """9 filters, and every cell of their feature maps votes."""
    return _stack(
        conv=_convolution(channels, 9),  # [N, 9, 24, 24]
        flatten=nn.Flatten(),
        dense=nn.Linear(9 * 24 * 24, classes),
    )


def multi_conv(classes: int, channels: int) -> nn.Module:
    """Edges first, then parts of digits."""
    return _stack(
        conv1=_convolution(channels, 10),  # [N, 10, 24, 24]
        pool1=nn.MaxPool2d(2),
        conv2=_convolution(10, 20),  # [N, 20, 8, 8]
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        dense=nn.Linear(20 * 4 * 4, classes),
    )


def lenet(classes: int, channels: int) -> nn.Module:
    """LeNet-5 (LeCun et al., 1998) as it is built today: ReLU, and max pooling."""
    return _stack(
        conv1=_convolution(channels, 6),  # [N, 6, 28, 28]
        pool1=nn.MaxPool2d(2),
        conv2=_convolution(6, 16),  # [N, 16, 10, 10]
        pool2=nn.MaxPool2d(2),
        conv3=_convolution(16, 120),  # [N, 120, 1, 1]
        flatten=nn.Flatten(),
        dense1=nn.Sequential(nn.Linear(120, 64), nn.ReLU()),
        dense2=nn.Linear(64, classes),
    )


def _input(side: int, channels: int) -> ImagePreprocessing:
    mean, std = _GRAY if channels == 1 else _COLOR
    return ImagePreprocessing(height=side, width=side, mean=mean, std=std)


def _28(channels: int) -> ImagePreprocessing:
    return _input(28, channels)


def _32(channels: int) -> ImagePreprocessing:
    return _input(32, channels)


_FAST = 8e-3  # these networks are small and start from nothing
_TWO_STAGES = ("conv1", "pool1", "conv2", "pool2")

ROWS = (
    Architecture(
        name="perceptron",
        summary="one dense layer, the lesson's baseline",
        make=perceptron,
        expects=_28,
        channels=(1,),
        feature_maps=(),
        dataset="mnist",
        learning_rate=2e-3,
        augment=False,
    ),
    Architecture(
        name="one_conv",
        summary="9 filters of 5×5, then dense",
        make=one_conv,
        expects=_28,
        channels=(1,),
        feature_maps=("conv",),
        dataset="mnist",
        learning_rate=_FAST,
        augment=False,
    ),
    Architecture(
        name="multi_conv",
        summary="conv 10 of 5×5, pool, conv 20 of 5×5, pool, dense",
        make=multi_conv,
        expects=_28,
        channels=(1,),
        feature_maps=_TWO_STAGES,
        dataset="mnist",
        learning_rate=_FAST,
    ),
    Architecture(
        name="digits",
        summary="multi_conv, trained on the sample of MNIST that ships with the exporter",
        make=multi_conv,
        expects=_28,
        channels=(1,),
        feature_maps=_TWO_STAGES,
        dataset="mnist_sample",
        learning_rate=_FAST,
    ),
    Architecture(
        name="lenet",
        summary="conv 6, pool, conv 16, pool, conv 120, all of 5×5, dense 64, dense",
        make=lenet,
        expects=_32,
        channels=(3, 1),
        feature_maps=_TWO_STAGES,
        dataset="mnist",
        learning_rate=_FAST,
    ),
)
