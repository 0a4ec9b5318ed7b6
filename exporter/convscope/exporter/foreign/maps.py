"""Chooses feature maps among the tensors of a foreign graph."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.foreign.join import ForeignMap
from convscope.exporter.graphs.static_graph import StaticGraph
from convscope.exporter.pyramid.receptive_field import views
from convscope.exporter.pyramid.receptive_view import View

__all__ = ["named_maps", "stage_maps"]

_RESERVED = ("images", "logits", "probabilities")


def named_maps(graph: StaticGraph, chosen: Iterable[str]) -> list[ForeignMap]:
    """Take the tensors that a user names, as TENSOR or TENSOR=NAME.

    Raises:
        UnknownNameError: There is no such tensor, or a name is taken.
        ExporterError: A tensor is no feature map.
    """
    seen = views(graph)
    maps = []
    for text in chosen:
        # A tensor's name may have an equals sign of its own.
        tensor, _, name = (text, "", "") if text in seen else text.rpartition("=")
        tensor, name = (tensor, name) if tensor else (text, "")
        if tensor not in seen:
            raise UnknownNameError(f"the graph has no tensor {tensor!r}{_near(tensor, seen)}")
        maps.append(_feature_map(graph, seen[tensor], tensor, name or tensor))
    _check_names(maps)
    return maps


def stage_maps(graph: StaticGraph) -> list[ForeignMap]:
    """Take what each stage of the pyramid hands on to the next, coarser one, and the last."""
    seen = views(graph)
    places = {name: place for place, name in enumerate(seen)}
    stages: dict[float, str] = {}
    for node in graph.nodes:
        name, result = (node.input or [""])[0], (node.output or [""])[0]
        if not (_is_map(graph, seen, name) and _is_map(graph, seen, result)):
            continue
        stride, coarser = _stride(seen[name]), _stride(seen[result])
        known = stages.get(stride, name)
        if coarser > stride and places[name] <= places[known]:
            stages[stride] = name
    last = [name for name in seen if _is_map(graph, seen, name)]
    if last and (stride := _stride(seen[last[-1]])) not in stages:
        stages[stride] = last[-1]
    return [
        _feature_map(graph, seen[stages[stride]], stages[stride], stages[stride])
        for stride in sorted(stages)
    ]


def _is_map(graph: StaticGraph, seen: Mapping[str, View], name: str) -> bool:
    """Whether a tensor is made of the image and has planes, larger than one cell."""
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
    """Where the channels of a map are, [N, C, H, W] or [N, H, W, C]; None for no map."""
    follows = [axis for axis, steps in enumerate(view.axes) if len(steps) == 1]
    if len(view.axes) != 4:
        return None
    return 1 if follows == [2, 3] else 3 if follows == [1, 2] else None


def _feature_map(graph: StaticGraph, view: View, tensor: str, name: str) -> ForeignMap:
    shape = graph.shape(tensor)
    channel_axis = _channel_axis(view)
    if len(shape) != 4 or shape[0] != 1:
        raise ExporterError(
            f"{tensor!r} is {list(shape)} for one image, not [1, channels, height, width]; "
            "choose a tensor before the head"
        )
    if channel_axis == 3:
        return ForeignMap(tensor, name, True, (shape[3], shape[1], shape[2]))
    return ForeignMap(tensor, name, False, (shape[1], shape[2], shape[3]))


def _near(tensor: str, seen: Mapping[str, View]) -> str:
    near = difflib.get_close_matches(tensor, seen, n=5) or list(seen)[-5:]
    return f"; there are: {', '.join(near)} and {len(seen) - len(near)} more"


def _check_names(maps: Sequence[ForeignMap]) -> None:
    names = [one.name for one in maps]
    for one in maps:
        if one.name in _RESERVED or names.count(one.name) > 1:
            raise UnknownNameError(
                f"the name {one.name!r} is taken; give the feature map another one: "
                f"--feature-map {one.tensor}=NAME"
            )
