"""An explanation as HTML: its heat over the image, and what the colors mean."""

import numpy as np
from PIL import Image

from convscope.client._drawing.explanation_words import facts, meaning
from convscope.client._drawing.explanation_words import heading as title
from convscope.client._drawing.html.parts import block, caption, heading, line
from convscope.client._drawing.html.pictures import photo_tag
from convscope.client._drawing.html.shown import ShownExplanation, thumbnail_source
from convscope.client._drawing.overlay import paint_heat
from convscope.client.errors import InvalidInputError

__all__ = ["explanation_html", "heat_picture"]

_SIDE = 260
_OPACITY = 0.85
_GRAY = (142, 142, 142)


def explanation_html(explanation: ShownExplanation) -> str:
    """Return an explanation as HTML."""
    name, note = title(explanation)
    model = f"{explanation.model} v{explanation.version}" if explanation.model else ""
    facts_lines = "".join(line([fact]) for fact in facts(explanation))
    text = heading(f"{name}  {note}") + line([model, explanation.method]) + facts_lines
    if explanation.array.ndim != 2:  # the heat of a signal
        return block(text)
    photo = thumbnail_source(explanation.source, _SIDE)
    picture = heat_picture(explanation, photo)
    tag = caption(photo_tag(picture, _SIDE, f"heat of {name}"), meaning(explanation))
    return block("" if photo is None else photo_tag(photo, _SIDE, "the image"), tag, text)


def heat_picture(explanation: ShownExplanation, photo: Image.Image | None) -> Image.Image:
    """Draw the heat over a thumbnail of the image, or over gray."""
    if photo is not None and explanation.crop is not None:
        try:
            box = explanation.crop.box(*photo.size)
        except InvalidInputError:  # the file of the image is another one by now
            photo = None
    if photo is None or explanation.crop is None:
        height, width = explanation.array.shape
        factor = _SIDE / max(height, width)
        photo = Image.new("RGB", (round(width * factor), round(height * factor)), _GRAY)
        box = (0, 0, *photo.size)
    return paint_heat(
        photo,
        np.asarray(explanation.array),
        box,
        limit=explanation.limit,
        opacity=_OPACITY,
        dims_outside=True,
    )
