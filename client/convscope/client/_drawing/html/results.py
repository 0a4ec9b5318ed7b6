"""Many results as an HTML table with a small picture of each image."""

from collections.abc import Sequence
from pathlib import PurePath

from convscope.client._drawing.html.parts import bars, dim, escape, line, table
from convscope.client._drawing.html.pictures import photo_tag
from convscope.client._drawing.html.shown import ShownResult, thumbnail_source
from convscope.client.errors import ConvscopeError

__all__ = ["results_html"]

_SIDE = 64
# More pictures would make a notebook large, and take seconds to read.
_SHOWN = 25
_CLASSES = 3


def results_html(results: Sequence[ShownResult | ConvscopeError]) -> str:
    """Return the first results as HTML, and the number of all."""
    rows = [_row(one) for one in results[:_SHOWN]]
    shown = table(("image", "", "classes"), rows)
    failed = sum(isinstance(one, ConvscopeError) for one in results)
    counts = [
        f"{len(results):,} {'image' if len(results) == 1 else 'images'}",
        f"{failed:,} failed" if failed else "",
        f"the first {_SHOWN} are shown" if len(results) > _SHOWN else "",
    ]
    return shown + line(counts)


def _row(result: ShownResult | ConvscopeError) -> tuple[str, str, str]:
    name = escape(PurePath(result.image).name)
    if isinstance(result, ConvscopeError):
        return "", name, dim(escape(f"{result.code.name}: {result.message}"))
    photo = thumbnail_source(result.source, _SIDE)
    picture = "" if photo is None else photo_tag(photo, _SIDE, PurePath(result.image).name)
    scores = [(score.label, score.probability) for score in result.classes[:_CLASSES]]
    return picture, name, bars(scores, width=90)
