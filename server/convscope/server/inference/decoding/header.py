"""What the first bytes of an encoded image declare."""

from dataclasses import dataclass

__all__ = ["SAVE_AGAIN", "Encoded", "Header"]

# The bytes of an image file. Those of a large one are a part of the request's message.
Encoded = bytes | memoryview

SAVE_AGAIN = "save it again, without metadata"


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an encoded image declare.

    Args:
        format: The name of its format.
        width: Pixels in a row as stored, before its orientation is applied.
        height: Rows as stored.
        pixel_bytes: Memory for one pixel that is decoded.
        working_bytes: Memory for one pixel while it is decoded, which decoding to scale doesn't
            reduce: the coefficients of a JPEG, the copies of a WebP.
        uneven_chroma: Whether a JPEG's channel is subsampled in one direction only.
        scan_start: The position of a JPEG's first scan, or of a GIF's first frame.
        restart_interval: Blocks of a JPEG between two restart markers; 0 without any.
        block: The width and height of such a block in pixels.
        has_one_scan: Whether the first scan of a JPEG is the only one.
        kept: The parts of a JPEG or GIF before its pixels that its decoder reads.
        exif: Where the EXIF profile of a JPEG is.
        xmp: Where the XMP metadata of a JPEG is.
    """

    format: str
    width: int
    height: int
    pixel_bytes: int
    working_bytes: int = 0
    uneven_chroma: bool = False
    scan_start: int = 0
    restart_interval: int = 0
    block: tuple[int, int] = (8, 8)
    has_one_scan: bool = False
    kept: tuple[tuple[int, int], ...] = ()
    exif: tuple[int, int] | None = None
    xmp: tuple[int, int] | None = None

    @property
    def pixels(self) -> int:
        """The number of pixels."""
        return self.width * self.height
