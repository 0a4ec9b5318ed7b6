"""Checks the structure of an encoded image before a decoder sees it.

Decoders are written for files of cameras and drawing programs. Some crafted files of a few
megabytes take them minutes, or a gigabyte. Therefore:

- The number of segments, chunks, blocks and scans is limited, in proportion to the file.
- Metadata never reaches the decoder. It gets a stream of the parts from which pixels are
  decoded. The one property that matters, the orientation, is read here, from a bounded part.
- Variants that cost much more than their pixels, and that hardly any program writes, are
  rejected or allowed for smaller images only.

Each check takes time in proportion to the file's bytes, without a step of Python for each
byte. An ordinary file needs no copy.

Damage that Pillow doesn't report is found on the way. What can be found depends on the format:

- **Truncation** is found in every format. Pillow finds it in the pixels; here, a PNG must
  reach its last chunk, a JPEG its end marker, and a WebP the length that it declares.
- **PNG**: every chunk has a checksum. Pillow doesn't verify those of the pixels and of
  what follows them. All are verified here, so any damage is found.
- **JPEG** has no checksum. A changed byte of a scan usually changes coefficients, which
  nothing shows. Damage that breaks the structure is found: a marker that can't follow a
  scan, coded data outside a scan, missing or unordered restart markers, an end marker
  before the rest of the image.
- **WebP, GIF, BMP** have no checksum either. Their decoders reject data that yields too
  few pixels, or codes that don't exist. Other changed bytes are other pixels.
"""

from collections.abc import Callable

from convscope.server.inference.decoding.header import Encoded, Header
from convscope.server.inference.decoding.structure import bmp, gif, jpeg, png, webp
from convscope.server.inference.decoding.structure.stream import Stream

__all__ = ["inspect"]

_INSPECTORS: dict[str, Callable[[Encoded, Header], Stream]] = {
    "JPEG": jpeg.inspect,
    "PNG": png.inspect,
    "WEBP": webp.inspect,
    "GIF": gif.inspect,
    "BMP": bmp.inspect,
}


def inspect(data: Encoded, header: Header) -> Stream:
    """Check the structure of an encoded image; return what its decoder reads.

    Raises:
        InvalidInputError: It is damaged, truncated or over a limit.
    """
    return _INSPECTORS[header.format](data, header)
