"""Converts images of any color mode to the model's."""

import numpy as np
from PIL import Image

__all__ = ["convert"]

# Pillow keeps the interpreter's lock while it converts pixels: 0.2 to 0.8 ms for so many.
_PIECE_PIXELS = 2**16


def convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert any color mode to RGB or L; transparent pixels become white."""
    if image.mode == mode and not image.has_transparency_data:
        return image
    if image.mode in {"RGBA", "LA"}:
        image = _on_white(image)
        if mode == "RGB":
            return image
    width, height = image.size
    rows = max(_PIECE_PIXELS // width, 1)
    if height <= rows:
        return _convert(image, mode)
    converted = Image.new(mode, image.size)
    for top in range(0, height, rows):
        box = 0, top, width, min(top + rows, height)
        converted.paste(_convert(image.crop(box), mode), box)
    return converted


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray
        wide = np.asarray(image, dtype=np.float32)
        image = Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:  # a palette, or one color is transparent
        image = _on_white(image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _on_white(image: Image.Image) -> Image.Image:
    """Put an RGBA or LA image on a white page; other threads run meanwhile."""
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image)
    return page
