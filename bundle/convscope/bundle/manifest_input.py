"""Checks of a manifest's input: its shape, and how images are decoded, resized and padded."""

from collections.abc import Iterator

from convscope.bundle.manifest_values import Check, enum_check, enum_name
from convscope.v1 import manifest_pb2 as pb

__all__ = ["input_checks"]

MAX_SIDE = 2**16
_KINDS = (pb.INPUT_KIND_IMAGE, pb.INPUT_KIND_TENSOR)
_INTERPOLATIONS = (
    pb.INTERPOLATION_BILINEAR,
    pb.INTERPOLATION_BICUBIC,
    pb.INTERPOLATION_LANCZOS,
)
_RESIZE_RULES = (pb.RESIZE_RULE_SHORTEST_EDGE, pb.RESIZE_RULE_EXACT, pb.RESIZE_RULE_FIT)
_PLACEMENTS = (pb.PLACEMENT_CENTER, pb.PLACEMENT_TOP_LEFT)
_WHITE = 255
_CHANNELS = {pb.COLOR_MODE_RGB: 3, pb.COLOR_MODE_GRAY: 1}


def input_checks(manifest: pb.ModelManifest) -> Iterator[Check]:
    """Yield the checks of the input and of its preprocessing."""
    spec = manifest.input
    yield enum_check("input's kind", spec.kind, pb.InputKind.DESCRIPTOR, _KINDS)
    yield (
        f"the input has the shape {list(spec.shape)}; it needs sizes of at least 1",
        (not spec.shape or min(spec.shape) < 1),
    )
    if spec.kind != pb.INPUT_KIND_IMAGE:
        dtype = enum_name(pb.DataType.DESCRIPTOR, spec.dtype)
        yield (
            f"the input is a tensor of {dtype}; it must be DATA_TYPE_FLOAT32",
            (spec.dtype != pb.DATA_TYPE_FLOAT32),
        )
    elif spec.dtype != pb.DATA_TYPE_UINT8 or len(spec.shape) != 3:
        dtype = enum_name(pb.DataType.DESCRIPTOR, spec.dtype)
        yield (
            f"the input is an image of {dtype} {list(spec.shape)}; it must be DATA_TYPE_UINT8 "
            "[height, width, channels]",
            True,
        )
    else:
        yield from _preprocessing(manifest.preprocessing, *spec.shape)


def _preprocessing(
    rule: pb.Preprocessing, height: int, width: int, channels: int
) -> Iterator[Check]:
    yield enum_check("color mode", rule.color_mode, pb.ColorMode.DESCRIPTOR, tuple(_CHANNELS))
    mode = enum_name(pb.ColorMode.DESCRIPTOR, rule.color_mode)
    yield (
        f"{mode} doesn't fit an input of {channels} channels",
        (channels != _CHANNELS.get(rule.color_mode)),
    )
    yield enum_check(
        "interpolation", rule.interpolation, pb.Interpolation.DESCRIPTOR, _INTERPOLATIONS
    )
    yield from _resize(rule.resize, height, width, channels)


def _resize(resize: pb.Resize, height: int, width: int, channels: int) -> Iterator[Check]:
    yield enum_check("resize rule", resize.rule, pb.ResizeRule.DESCRIPTOR, _RESIZE_RULES)
    if resize.rule == pb.RESIZE_RULE_FIT:
        yield from _padding(resize.padding, channels)
        return
    largest = max(resize.shortest_edge, resize.height, resize.width)
    yield (
        f"images are resized to {largest:,} pixels; at most {MAX_SIDE:,} are allowed",
        (largest > MAX_SIDE),
    )
    if resize.rule == pb.RESIZE_RULE_EXACT:
        target, small = (
            f"{resize.height}x{resize.width}",
            resize.height < height or resize.width < width,
        )
    else:
        target, small = str(resize.shortest_edge), resize.shortest_edge < max(height, width)
    yield f"images are resized to {target}, less than the graph's input of {height}x{width}", small


def _padding(padding: pb.Padding, channels: int) -> Iterator[Check]:
    yield enum_check("placement", padding.placement, pb.Placement.DESCRIPTOR, _PLACEMENTS)
    color = list(padding.color)
    yield (
        f"the padding has the color {color[: channels + 1]}; it must have {channels} values of 0 "
        f"to {_WHITE}",
        len(color) != channels or max(color) > _WHITE,
    )
