"""The classic networks, with torchvision's architectures and weights.

torchvision is imported only when a row is used, so that `list` is fast.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from convscope.exporter.architectures.registry import Architecture, Published
from convscope.exporter.preprocessing import ImagePreprocessing, ShortestEdge

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ROWS"]

_VGG = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
_RESNET = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
_MOBILENET = ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"]
# Their published weights expect another normalization, which the network applies
# itself; and they include auxiliary heads that only training needs.
_INCEPTION: dict[str, Any] = {"aux_logits": False, "transform_input": True, "init_weights": True}


def _make(name: str, options: dict[str, Any], classes: int, channels: int) -> "nn.Module":
    from torchvision import models

    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    return network


def _record(name: str) -> Any:
    """Return torchvision's record of the published weights."""
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _preprocessing(name: str, channels: int) -> ImagePreprocessing:
    rule = _record(name).transforms()
    return ImagePreprocessing(
        height=rule.crop_size[0],
        width=rule.crop_size[0],
        mean=tuple(rule.mean),
        std=tuple(rule.std),
        interpolation=rule.interpolation.value,
        resize=ShortestEdge(rule.resize_size[0]),
    )


def _labels(name: str) -> tuple[str, ...]:
    return tuple(_record(name).meta["categories"])


def _published(name: str) -> Published:
    from convscope.exporter.architectures.weights import Weights, hub_errors

    record = _record(name)
    with hub_errors(record.url):
        tensors = record.get_state_dict(progress=False, check_hash=True, weights_only=True)
    # torchvision publishes no license for its weights.
    return Published(tensors, Weights(f"torchvision {record}", "", "ImageNet-1k"))


def _row(
    name: str,
    summary: str,
    options: dict[str, Any] | None = None,
    ignored: tuple[str, ...] = (),
    side: int = 224,
) -> Architecture:
    labels: Callable[[], tuple[str, ...]] = partial(_labels, name)
    return Architecture(
        name=name,
        summary=summary,
        make=partial(_make, name, options or {}),
        expects=partial(_preprocessing, name),
        labels=labels,
        published=partial(_published, name),
        ignored=ignored,
        size=(side, side),
    )


def _rows() -> Iterator[Architecture]:
    for name in _VGG:
        yield _row(name, "VGG" + (" with batch norm" if name.endswith("_bn") else ""))
    for name in _RESNET:
        yield _row(name, "ResNet")
    yield _row("googlenet", "GoogLeNet", _INCEPTION, ("aux1.", "aux2."))
    yield _row("inception_v3", "Inception v3", _INCEPTION, ("AuxLogits.",), side=299)
    for name in _MOBILENET:
        yield _row(name, f"MobileNet {name.split('_')[1]}")


ROWS = tuple(_rows())
