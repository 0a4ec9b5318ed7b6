"""Small pictures of inputs as data URIs."""

from base64 import b64encode
from io import BytesIO

from PIL import Image, ImageOps

from convscope.exporter.evaluation.inputs import Sample

__all__ = ["data_uri"]

SIDE = 176  # twice the width on the page, for dense screens
SMALL = 64  # such images are shown with their own pixels
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def data_uri(sample: Sample) -> str | None:
    """Return a small picture of an input as a data URI; None if it isn't an image."""
    if sample.encoded is None:
        return None
    try:
        image = ImageOps.exif_transpose(Image.open(BytesIO(sample.encoded)))
        image = image if image.mode in ("L", "RGB") else image.convert("RGB")
        image.thumbnail((SIDE, SIDE))
    except _UNREADABLE:  # the server may read what Pillow can't
        return None
    small = max(image.size) <= SMALL
    out = BytesIO()
    image.save(out, "PNG" if small else "JPEG", optimize=True)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{b64encode(out.getvalue()).decode()}"
