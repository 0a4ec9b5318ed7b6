"""PIL images of any mode as pixels."""

import numpy as np
from PIL import Image

from convscope.client.errors import InvalidInputError

__all__ = ["to_pixel_mode"]

_PIXEL_MODES = ("L", "RGB", "RGBA")


def to_pixel_mode(image: Image.Image) -> Image.Image:
    """Convert an image to a mode that the server accepts, and keep its transparency.

    Raises:
        InvalidInputError: The range of its values isn't known.
    """
    if image.mode in _PIXEL_MODES and not image.has_transparency_data:
        return image
    if image.mode == "F":
        raise InvalidInputError(
            "the PIL image has mode F, whose range isn't known; scale it to 0 to 255 and give it "
            "as mode L, or give the model's own input as Tensor(array)"
        )
    if image.mode.startswith("I"):  # 16-bit gray
        wide = np.asarray(image, dtype=np.float32)
        return Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")
