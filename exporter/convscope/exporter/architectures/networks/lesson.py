"""The teaching networks, from a perceptron to LeNet."""

from torch import nn

__all__ = ["lenet", "multi_conv", "one_conv", "perceptron"]


def _stack(**layers: nn.Module) -> nn.Module:
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


def _convolution(inputs: int, filters: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, filters, 5), nn.ReLU())


def perceptron(classes: int, channels: int) -> nn.Module:
    """Return one dense layer: every pixel contributes to every class."""
    return _stack(flatten=nn.Flatten(), dense=nn.Linear(channels * 28 * 28, classes))


def one_conv(classes: int, channels: int) -> nn.Module:
    """Return 9 filters and a dense layer over all cells of their feature maps."""
    return _stack(
        conv=_convolution(channels, 9),  # [N, 9, 24, 24]
        flatten=nn.Flatten(),
        dense=nn.Linear(9 * 24 * 24, classes),
    )


def multi_conv(classes: int, channels: int) -> nn.Module:
    """Return two convolutions with pools: the first finds edges, the second parts of digits."""
    return _stack(
        conv1=_convolution(channels, 10),  # [N, 10, 24, 24]
        pool1=nn.MaxPool2d(2),
        conv2=_convolution(10, 20),  # [N, 20, 8, 8]
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        dense=nn.Linear(20 * 4 * 4, classes),
    )


def lenet(classes: int, channels: int) -> nn.Module:
    """Return LeNet-5 (LeCun et al., 1998) in today's form, with ReLU and max pooling."""
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
