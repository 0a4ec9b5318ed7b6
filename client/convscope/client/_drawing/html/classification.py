"""A result as HTML: the image, the classes as bars, heat and feature maps."""

from pathlib import PurePath

from PIL import Image

from convscope.client._drawing.explanation_words import heading as title
from convscope.client._drawing.html.explanation import heat_picture
from convscope.client._drawing.html.parts import bars, block, caption, heading, line
from convscope.client._drawing.html.pictures import channels_tag, photo_tag
from convscope.client._drawing.html.shown import (
    ShownExplanation,
    ShownMap,
    ShownResult,
    thumbnail_source,
)

__all__ = ["classification_html", "map_tag"]

_SIDE = 200
_CHANNELS, _COLUMNS, _CHANNEL_SIDE = 8, 4, 56
_MAPS, _EXPLANATIONS = 8, 6


def classification_html(result: ShownResult) -> str:
    """Return a result as HTML."""
    photo = thumbnail_source(result.source, _SIDE)
    name = PurePath(result.image).name
    head = block(
        "" if photo is None else photo_tag(photo, _SIDE, name or "the image"),
        (heading(name) if name else "")
        + (bars([(score.label, score.probability) for score in result.classes]))
        + line(_facts(result)),
    )
    heat = [_heat(each, photo) for each in result.explanations[:_EXPLANATIONS]]
    maps = [_map(each) for each in list(result.feature_maps.values())[:_MAPS]]
    below = [block(*row) for row in (heat, maps) if row]
    return head + "".join(f'<div style="padding-top:10px">{row}</div>' for row in below)


def _facts(result: ShownResult) -> list[str]:
    size = "sent as {} x {} pixels".format(*result.sent_size) if result.sent_size else ""
    return [
        f"{result.model} v{result.version}",
        result.provider,
        _duration(result.call_seconds),
        size,
    ]


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    milliseconds = 1000 * seconds
    return f"{milliseconds:.{0 if milliseconds >= 10 else 1}f} ms" if seconds else ""


def _heat(explanation: ShownExplanation, photo: Image.Image | None) -> str:
    name, note = title(explanation)
    if explanation.array.ndim != 2:
        return line([name, note])
    picture = photo_tag(heat_picture(explanation, photo), _SIDE, f"heat of {name}")
    return caption(picture, f"{name}  {note}")


def _map(feature_map: ShownMap) -> str:
    channels, height, width = feature_map.array.shape
    shown = f", {_CHANNELS} strongest" if channels > _CHANNELS else ""
    text = f"{feature_map.name}: {channels} x {height} x {width}{shown}"
    return caption(map_tag(feature_map), text)


def map_tag(feature_map: ShownMap) -> str:
    """Return the strongest channels of a feature map as an <img>."""
    channels = [feature_map.array[index] for index in feature_map.strongest(_CHANNELS)]
    columns = min(_COLUMNS, len(channels))
    return channels_tag(channels, columns, _CHANNEL_SIDE, f"feature map {feature_map.name}")
