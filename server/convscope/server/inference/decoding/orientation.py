"""Turns images upright, by their EXIF orientation."""

from dataclasses import dataclass

from PIL import Image

__all__ = ["Box", "PixelBox", "Stored", "cut_upright", "upright_size"]

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
# The orientations whose upright left or upper edge is a right or lower edge as stored.
_LEFT_IS_STORED_END = (2, 3, 6, 7)
_TOP_IS_STORED_END = (3, 4, 7, 8)

Box = tuple[float, float, float, float]  # left, top, right, bottom
PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Stored:
    """How an image is stored.

    Args:
        size: Its width and height as stored.
        orientation: Its EXIF orientation.
        scale: How many pixels one decoded pixel represents, in each direction.
    """

    size: tuple[int, int]
    orientation: int = 1
    scale: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """The width and height of the upright image."""
        return upright_size(self.size, self.orientation)

    def decoded_box(self, box: Box, decoded: tuple[int, int]) -> Box:
        """Convert a box of the upright image to the upright decoded image.

        When an image that was decoded to scale is mirrored, its partial last column
        becomes the first one.

        Args:
            box: The box, in pixels of the whole image.
            decoded: The width and height of the decoded image as stored.
        """
        width, height = upright_size(decoded, self.orientation)
        mirror_x, mirror_y = _mirrored_axes(self.orientation)
        x = width - self.upright[0] / self.scale if mirror_x else 0
        y = height - self.upright[1] / self.scale if mirror_y else 0
        left, top, right, bottom = (edge / self.scale for edge in box)
        return max(left + x, 0), max(top + y, 0), min(right + x, width), min(bottom + y, height)


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the width and height of the upright image, for those of the stored one."""
    return size[::-1] if orientation in _TURNED else size


def cut_upright(image: Image.Image, box: PixelBox, orientation: int) -> Image.Image:
    """Return a part of the upright image.

    Args:
        image: The image as stored.
        box: The part, in pixels of the upright image.
        orientation: The EXIF orientation of the stored image.
    """
    stored = _stored_box(box, image.size, orientation)
    if stored != (0, 0, *image.size):
        image = image.crop(stored)
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _mirrored_axes(orientation: int) -> tuple[bool, bool]:
    """Return whether the upright x and y axes run against the stored axes that they come from."""
    return orientation in _LEFT_IS_STORED_END, orientation in _TOP_IS_STORED_END


def _stored_box(box: PixelBox, size: tuple[int, int], orientation: int) -> PixelBox:
    """Convert a box of the upright image to the image as stored, which has that size."""
    left, top, right, bottom = box
    width, height = upright_size(size, orientation)
    mirror_x, mirror_y = _mirrored_axes(orientation)
    if mirror_x:
        left, right = width - right, width - left
    if mirror_y:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if orientation in _TURNED else (left, top, right, bottom)
