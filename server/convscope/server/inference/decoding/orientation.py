"""Turns images upright, by their EXIF orientation."""

from PIL import ExifTags, Image

__all__ = ["Box", "orientation_of", "swaps_axes", "turn_upright"]

# The transposition that turns each EXIF orientation upright, and those that swap the axes.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)
# The orientation that reverses another one; the others reverse themselves.
_INVERSE = {6: 8, 8: 6}

Box = tuple[float, float, float, float]


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 if it has none."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's parsers raise anything on crafted bytes
        return 1  # damaged metadata doesn't invalidate the image
    return value if value in _UPRIGHT else 1


def swaps_axes(orientation: int) -> bool:
    """Return whether turning an image upright swaps its width and height."""
    return orientation in _TURNED


def turn_upright(
    image: Image.Image, orientation: int, box: Box, size: tuple[int, int], scale: int
) -> tuple[Image.Image, Box]:
    """Turn an image upright, and convert a box of the full upright image to its pixels.

    When an image that was decoded to scale is mirrored, its partial last column
    becomes the first one. The box is therefore converted in the stored image.
    """
    left, top, right, bottom = _turn_box(box, size, orientation)
    stored = left / scale, top / scale, right / scale, bottom / scale
    inverse = _INVERSE.get(orientation, orientation)
    left, top, right, bottom = _turn_box(stored, image.size, inverse)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return image, (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))


def _turn_box(box: Box, upright: tuple[int, int], orientation: int) -> Box:
    """Convert a box of an upright image of that size to the image as it is stored."""
    left, top, right, bottom = box
    width, height = upright
    mirrored = {
        1: box,
        2: (width - right, top, width - left, bottom),
        3: (width - right, height - bottom, width - left, height - top),
        4: (left, height - bottom, right, height - top),
        5: (top, left, bottom, right),
        6: (top, width - right, bottom, width - left),
        7: (height - bottom, width - right, height - top, width - left),
        8: (height - bottom, left, height - top, right),
    }
    return mirrored[orientation]
