"""The preprocessing of a model in one line of plain words, as the exporter prints it."""

from collections.abc import Iterator, Sequence

from convscope.v1 import manifest_pb2 as mpb

__all__ = ["preprocessing_line"]

# On a scale of 0 to 1, no standard deviation of real images is that small: the network takes
# pixels of 0 to 255.
_SMALLEST_STD = 0.02
_FILTERS = {mpb.INTERPOLATION_BICUBIC: " (bicubic)", mpb.INTERPOLATION_LANCZOS: " (Lanczos)"}
_COLORS = {mpb.COLOR_MODE_RGB: "RGB", mpb.COLOR_MODE_GRAY: "gray"}


def preprocessing_line(manifest: mpb.ModelManifest) -> str:
    """Return how an image becomes the network's input.

    An example is "pixels/255, mean 0.485 0.456 0.406, std 0.229 0.224 0.225, shorter
    edge 256, center crop 224, RGB". The mean and std have the network's own order of
    channels, which may be BGR.
    """
    spec = manifest.input
    if spec.kind != mpb.INPUT_KIND_IMAGE:
        return f"none: a float32 tensor {_times(spec.shape)}"
    rule = manifest.preprocessing
    step = -1 if rule.reverses_channels else 1
    normalization = _normalization(rule.mean[::step], rule.std[::step])
    color = "BGR" if rule.reverses_channels else _COLORS.get(rule.color_mode, "unknown colors")
    return ", ".join([*normalization, *_size(rule, spec.shape), color])


def _normalization(mean: Sequence[float], std: Sequence[float]) -> Iterator[str]:
    if not std:
        return
    raw = max(std) < _SMALLEST_STD
    unit, digits = (255, 6) if raw else (1, 5)
    yield "pixels of 0 to 255" if raw else "pixels/255"
    for name, values, neutral in (("mean", mean, 0.0), ("std", std, 1.0)):
        texts = [f"{unit * value:.{digits}g}" for value in values]
        if len(set(texts)) > 1:
            yield f"{name} {' '.join(texts)}"
        elif texts and float(texts[0]) != neutral:
            yield f"{name} {texts[0]}"


def _size(rule: mpb.Preprocessing, shape: Sequence[int]) -> Iterator[str]:
    height, width, _ = shape
    resize = rule.resize
    how = _FILTERS.get(rule.interpolation, "")
    if resize.rule == mpb.RESIZE_RULE_FIT:
        yield f"fitted into {_times((height, width))}{how}"
        yield _padding(resize.padding)
        return
    if resize.rule == mpb.RESIZE_RULE_EXACT:
        yield f"resized to {_times((resize.height, resize.width))}{how}"
        if (resize.height, resize.width) == (height, width):
            return
    else:
        yield f"shorter edge {resize.shortest_edge}{how}"
    yield f"center crop {height if height == width else _times((height, width))}"


def _padding(padding: mpb.Padding) -> str:
    color = " ".join(map(str, padding.color if len(set(padding.color)) > 1 else padding.color[:1]))
    is_centered = padding.placement == mpb.PLACEMENT_CENTER
    return f"padding {color} " + ("around it" if is_centered else "on the right or at the bottom")


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
