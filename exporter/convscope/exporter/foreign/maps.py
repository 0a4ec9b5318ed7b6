"""Chooses feature maps among the tensors of a foreign graph."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from convscope.bundle.suggestions import it_has, or_near
from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.graphs.static_graph import StaticGraph
from convscope.exporter.pyramid.receptive_field import views
from convscope.exporter.pyramid.receptive_view import View

__all__ = ["ForeignMap", "named_maps", "stage_maps"]

_RESERVED = ("classes", "heat", "heat_classes", "images", "logits", "probabilities")


@dataclass(frozen=True, slots=True)
class ForeignMap:
    """A tensor of a foreign graph that becomes a feature map.

    Args:
        tensor: Its name in the foreign graph.
        name: Its name in the bundle.
        channels_last: Whether it is [N, height, width, channels] there.
        shape: Channels, height and width.
    """

    tensor: str
    name: str
    channels_last: bool
    shape: tuple[int, int, int]


def named_maps(graph: StaticGraph, chosen: Iterable[str]) -> list[ForeignMap]:
    """Return the tensors that a user chooses as TENSOR or TENSOR=NAME.

    Raises:
        UnknownNameError: The graph has no such tensor, or a name is taken.
        ExporterError: A tensor is no feature map.
    """
    seen = views(graph)
    maps = []
    for text in chosen:
        # A tensor's own name may contain an equals sign.
        tensor, _, name = (text, "", "") if text in seen else text.rpartition("=")
        tensor, name = (tensor, name) if tensor else (text, "")
        if tensor not in seen:
            hint = or_near(tensor, seen) or f"; {it_has(list(seen))}"
            raise UnknownNameError(f"the graph has no tensor {tensor!r}{hint}")
        maps.append(_feature_map(graph, seen[tensor], tensor, name or tensor))
    _check_names(maps)
    return maps


def stage_maps(graph: StaticGraph) -> list[ForeignMap]:
    """Return the tensor that each stage passes to the next, coarser one, and the last stage's.

    Their names are stage1, stage2 and so on. The tensors of exported graphs have names such
    as "/features/features.3/block/block.2/Relu_output_0", which nobody types.
    """
    seen = views(graph)
    positions = {name: position for position, name in enumerate(seen)}
    stages: dict[float, str] = {}
    for node in graph.nodes:
        name, result = (node.input or [""])[0], (node.output or [""])[0]
        if not (_is_map(graph, seen, name) and _is_map(graph, seen, result)):
            continue
        stride, coarser = _stride(seen[name]), _stride(seen[result])
        known = stages.get(stride, name)
        if coarser > stride and positions[name] <= positions[known]:
            stages[stride] = name
    last = [name for name in seen if _is_map(graph, seen, name)]
    if last and (stride := _stride(seen[last[-1]])) not in stages:
        stages[stride] = last[-1]
    return [
        _feature_map(graph, seen[stages[stride]], stages[stride], f"stage{number}")
        for number, stride in enumerate(sorted(stages), 1)
    ]


def _is_map(graph: StaticGraph, seen: Mapping[str, View], name: str) -> bool:
    """Return whether a tensor is computed from the image and has planes of several cells."""
    if name not in seen or name not in graph.shapes or name in graph.inputs:
        return False
    channel_axis = _channel_axis(seen[name])
    if channel_axis is None:
        return False
    sizes = [size for axis, size in enumerate(graph.shape(name)) if axis not in (0, channel_axis)]
    return min(sizes) > 1


def _stride(view: View) -> float:
    stride, _ = view.last() or (0.0, None)
    return stride


def _channel_axis(view: View) -> int | None:
    """Return the channel axis of [N, C, H, W] or [N, H, W, C]; None for other tensors."""
    follows = [axis for axis, steps in enumerate(view.axes) if len(steps) == 1]
    if len(view.axes) != 4:
        return None
    return 1 if follows == [2, 3] else 3 if follows == [1, 2] else None


def _feature_map(graph: StaticGraph, view: View, tensor: str, name: str) -> ForeignMap:
    shape = graph.shape(tensor)
    channel_axis = _channel_axis(view)
    if len(shape) != 4 or shape[0] != 1:
        raise ExporterError(
            f"{tensor!r} is {list(shape)} for one image; a feature map is [1, channels, height, "
            "width], so choose a tensor before the head"
        )
    if channel_axis == 3:
        return ForeignMap(tensor, name, True, (shape[3], shape[1], shape[2]))
    return ForeignMap(tensor, name, False, (shape[1], shape[2], shape[3]))


def _check_names(maps: Sequence[ForeignMap]) -> None:
    names = [one.name for one in maps]
    for one in maps:
        if one.name in _RESERVED or names.count(one.name) > 1:
            raise UnknownNameError(
                f"the name {one.name!r} is taken; choose another with "
                f"--feature-map {one.tensor}=NAME"
            )
