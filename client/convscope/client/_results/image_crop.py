"""The part of an image that the network saw."""

from dataclasses import dataclass

from convscope.client.errors import InvalidInputError

__all__ = ["Box", "ImageCrop"]

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in whole pixels."""


@dataclass(frozen=True, slots=True)
class ImageCrop:
    """The part of an image that the network saw, in pixels of the upright image.

    An image is upright after its EXIF orientation was applied. Edges may be between pixels.

    Args:
        left: The left edge.
        top: The upper edge.
        right: The right edge, which is not part of it.
        bottom: The lower edge, which is not part of it.
        image_width: The width of the image.
        image_height: The height of the image.

    Example:
        >>> result = client.classify("coffee.png", model="efficientnet_lite0", explain=1)
        >>> result.crop
        ImageCrop(left=..., image_width=600, image_height=400)
    """

    left: float
    top: float
    right: float
    bottom: float
    image_width: int
    image_height: int

    def at(self, width: int, height: int) -> "ImageCrop":
        """Return it in pixels of the image at another size, unrounded.

        Example:
            >>> crop = ImageCrop(100, 0, 500, 400, image_width=600, image_height=400)
            >>> crop.at(300, 200)
            ImageCrop(left=50.0, top=0.0, right=250.0, bottom=200.0, image_width=300, ...)
        """
        x, y = width / self.image_width, height / self.image_height
        return ImageCrop(
            self.left * x, self.top * y, self.right * x, self.bottom * y, width, height
        )

    def box(self, width: int, height: int) -> Box:
        """Return it in pixels of the image at another size, such as a thumbnail.

        Raises:
            InvalidInputError: The size has other proportions, so it is another image.

        Example:
            >>> crop = ImageCrop(100, 0, 500, 400, image_width=600, image_height=400)
            >>> crop.box(300, 200)
            (50, 0, 250, 200)
        """
        # Each side of a thumbnail is rounded, twice if it was decoded at a smaller scale.
        difference = abs(width * self.image_height - height * self.image_width)
        if difference > 2 * (self.image_width + self.image_height):
            raise InvalidInputError(
                f"the image is {width} x {height} pixels; the one that was classified is "
                f"{self.image_width} x {self.image_height}; give that one, upright or with its "
                "EXIF orientation, at any size"
            )
        x, y = width / self.image_width, height / self.image_height
        left, top = round(self.left * x), round(self.top * y)
        right, bottom = round(self.right * x), round(self.bottom * y)
        return left, top, max(right, left + 1), max(bottom, top + 1)
