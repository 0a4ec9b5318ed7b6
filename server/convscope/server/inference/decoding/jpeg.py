"""Sets the scale at which Pillow decodes a JPEG, and rejects JPEGs that would take too long."""

import math
import struct

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from convscope.server.errors import InvalidInputError

__all__ = ["check_scans", "set_decode_scale"]

# libjpeg decodes every scan of a progressive file over the whole image, so a small
# file with thousands of scans costs minutes.
MAX_JPEG_SCANS = 64
# A JPEG is decoded at least this many times finer than the result. Measured before the
# rounding to whole levels, which itself costs 0.29 (rms): at 2.9 times, pixels move by
# 0.16 to 0.26 levels, and by up to 0.39 in strong noise. At 2.05 times they move by up to
# 0.48 and 0.80, and the probabilities of an undecided network by up to 0.06.
MIN_DECODE_OVERSAMPLING = 2.8


def set_decode_scale(image: Image.Image, finest: float) -> int:
    """Set a JPEG's decoding scale to the coarsest one that is fine enough.

    Args:
        image: An image that is open and not decoded yet.
        finest: The size of the result, relative to the part of the image that it shows.

    Returns:
        How many original pixels one decoded pixel represents, in each direction.
    """
    if not isinstance(image, JpegImageFile):
        return 1
    needed = finest * MIN_DECODE_OVERSAMPLING
    if _chroma_is_uneven(image):
        needed *= 2
    if needed >= 1:
        return 1
    full_width, full_height = image.size
    image.draft(None, (math.ceil(full_width * needed), math.ceil(full_height * needed)))
    # The scale is a power of two, and the last column or row may be a partial one.
    return int(2 ** round(math.log2(full_width / image.size[0])))


def _chroma_is_uneven(image: JpegImageFile) -> bool:
    """Return whether a channel is subsampled in one direction only, as in 4:2:2.

    Decoding to scale subsamples such a channel once more, in both directions.
    """
    horizontal = max(h for _, h, _, _ in image.layer)
    vertical = max(v for _, _, v, _ in image.layer)
    return any(h * vertical != v * horizontal for _, h, v, _ in image.layer)


def check_scans(image: JpegImageFile, data: bytes) -> None:
    """Reject a JPEG with too many scans.

    A baseline JPEG whose first scan contains all channels has no other scan.
    """
    length = 6 + 2 * image.layers
    start = image.fp.tell() - length - 2 if image.fp else 0  # of the first scan header
    has_one_scan = data.startswith(struct.pack(">HHB", 0xFFDA, length, image.layers), start)
    if has_one_scan and "progression" not in image.info:
        return
    if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise InvalidInputError(
            f"the JPEG image has more than {MAX_JPEG_SCANS} scans; save it as baseline JPEG"
        )
