"""Converts images of any color mode to the model's."""

import numpy as np
from PIL import Image

__all__ = ["convert"]


def convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert any color mode to RGB or L; transparent pixels become white."""
    if image.mode.startswith("I"):  # 16-bit gray
        wide = np.asarray(image, dtype=np.float32)
        image = Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8))
    elif image.mode in {"RGBA", "LA"}:
        image = _on_white(image)
    elif image.has_transparency_data:  # of a palette, or of one color
        image = _on_white(image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _on_white(image: Image.Image) -> Image.Image:
    """Put an RGBA or LA image on a white page.

    `Image.alpha_composite` gives the same, but takes three times as long, and keeps the
    interpreter's lock meanwhile.
    """
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image)
    return page
