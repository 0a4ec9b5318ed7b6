"""The networks of timm: a few under their own names, all others as timm/NAME.

timm is imported only when a row is used, so that `list` is fast.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from convscope.exporter.architectures.registry import Architecture, Published
from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import ImagePreprocessing, ShortestEdge

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PREFIX", "ROWS", "is_known", "names", "row"]

PREFIX = "timm/"
_LITE0 = "tf_efficientnet_lite0"
_IMAGENET_CLASSES = 1000


def names() -> list[str]:
    """Return every available `timm/NAME`."""
    import timm

    return [f"{PREFIX}{name}" for name in timm.list_models()]


def is_known(name: str) -> bool:
    """Return whether timm has the network `timm/NAME`."""
    import timm

    return bool(timm.is_model(name.removeprefix(PREFIX)))


def row(name: str) -> Architecture:
    """Return a row for `timm/NAME`."""
    return _row(name, name.removeprefix(PREFIX), "from timm")


def _make(name: str, classes: int, channels: int) -> "nn.Module":
    import timm

    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
    return network


def _record(name: str) -> Any:
    """Return timm's configuration of the published weights.

    Raises:
        ExporterError: timm has none.
    """
    import timm

    record = timm.get_pretrained_cfg(name)
    if record is None:
        raise ExporterError(f"timm has no input configuration for {name!r}; choose another network")
    return record


def _preprocessing(name: str, channels: int) -> ImagePreprocessing:
    record = _record(name)
    _, height, width = record.input_size
    return ImagePreprocessing(
        height=height,
        width=width,
        mean=tuple(record.mean),
        std=tuple(record.std),
        interpolation=record.interpolation,
        resize=None
        if record.crop_mode == "squash"
        else ShortestEdge(int(height / record.crop_pct)),
    )


def _labels(name: str) -> tuple[str, ...]:
    """Return ImageNet's class names; numbers if there aren't 1000 classes, as timm has no names."""
    from torchvision.models import MobileNet_V2_Weights

    count = _record(name).num_classes
    if count == _IMAGENET_CLASSES:
        return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
    return tuple(f"class {index}" for index in range(count))


def _published(name: str) -> Published:
    import timm

    from convscope.exporter.architectures.weights import Weights, hub_errors

    record = _record(name)
    with hub_errors(f"https://huggingface.co/{record.hf_hub_id}" if record.hf_hub_id else name):
        tensors = timm.create_model(name, pretrained=True).state_dict()
    tag = f"timm {name}.{record.tag}" if record.tag else f"timm {name}"
    dataset = "ImageNet-1k" if record.num_classes == _IMAGENET_CLASSES else ""
    return Published(tensors, Weights(tag, _spdx(record.license), dataset))


def _spdx(license_name: str | None) -> str:
    known = {"apache-2.0": "Apache-2.0", "mit": "MIT", "cc-by-nc-4.0": "CC-BY-NC-4.0"}
    return known.get((license_name or "").lower(), license_name or "")


def _published_lite0() -> Published:
    from convscope.exporter.architectures.weights import load_efficientnet_lite0

    network = _make(_LITE0, _IMAGENET_CLASSES, 3)
    weights = load_efficientnet_lite0(network)
    return Published(network.state_dict(), weights)


def _row(name: str, timm_name: str, summary: str, side: int | None = None) -> Architecture:
    return Architecture(
        name=name,
        summary=summary,
        make=partial(_make, timm_name),
        expects=partial(_preprocessing, timm_name),
        labels=partial(_labels, timm_name),
        published=partial(_published, timm_name),
        size=None if side is None else (side, side),
    )


ROWS = (
    _row("mobilenet_v1", "mobilenetv1_100", "MobileNet v1", 224),
    Architecture(
        name="efficientnet_lite0",
        summary="EfficientNet-Lite 0; its weights are included",
        make=partial(_make, _LITE0),
        expects=partial(_preprocessing, _LITE0),
        feature_maps=tuple(f"blocks.{stage}" for stage in range(7)),
        labels=partial(_labels, _LITE0),
        published=_published_lite0,
        size=(224, 224),
    ),
    *(
        _row(f"efficientnet_lite{n}", f"tf_efficientnet_lite{n}", f"EfficientNet-Lite {n}", side)
        for n, side in enumerate((240, 260, 300, 380), start=1)
    ),
)
