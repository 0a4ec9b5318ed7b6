"""Converts images of any color mode to the model's."""

import numpy as np
from PIL import Image

__all__ = ["convert"]


def convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert any color mode to RGB or L; transparent pixels become white."""
    if image.mode.startswith("I"):  # 16-bit gray
        wide = np.asarray(image, dtype=np.float32)
        image = Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        # No name refers to the page and to the transparent image afterwards: it is a large strip.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)
