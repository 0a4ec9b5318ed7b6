"""The same server, but Pillow decodes, resizes and crops every image at full size.

This is the simplest implementation of the manifest's preprocessing.
"""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convscope.server.__main__ import main
from convscope.server.inference.decoding import preprocessor
from convscope.v1 import manifest_pb2 as pb

MARK = "every image is decoded at full size"

_FILTERS = {
    pb.INTERPOLATION_BILINEAR: Image.Resampling.BILINEAR,
    pb.INTERPOLATION_BICUBIC: Image.Resampling.BICUBIC,
}
_make: Any = preprocessor.Preprocessor.__init__
_rules: dict[int, tuple[pb.Preprocessing, int, int]] = {}


def remember(self: Any, rule: pb.Preprocessing, height: int, width: int, **more: Any) -> None:
    """Store the rule of a preprocessor, and initialize it as usual."""
    _rules[id(self)] = (rule, height, width)
    _make(self, rule, height, width, **more)


def decode(self: Any, data: bytes, *_: Any) -> NDArray[np.uint8]:
    """Prepare an encoded image; uint8 [height, width, channels]."""
    rule, height, width = _rules[id(self)]
    if MARK not in _printed:
        _printed.add(MARK)
        print(MARK, flush=True)
    mode = "RGB" if rule.color_mode == pb.COLOR_MODE_RGB else "L"
    image = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert(mode)
    image = image.resize(resized(rule.resize, *image.size), _FILTERS[rule.interpolation])
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    array = np.asarray(image.crop((left, top, left + width, top + height)))
    return array[:, :, np.newaxis] if array.ndim == 2 else array


def resized(rule: pb.Resize, width: int, height: int) -> tuple[int, int]:
    """Return the size that an image is resized to."""
    if rule.rule == pb.RESIZE_RULE_EXACT:
        return rule.width, rule.height
    edge = rule.shortest_edge
    return (
        edge if width <= height else int(edge * width / height),
        edge if height <= width else int(edge * height / width),
    )


_printed: set[str] = set()

if __name__ == "__main__":
    preprocessor.Preprocessor.__init__ = remember  # type: ignore[assignment]
    preprocessor.Preprocessor.decode = decode  # type: ignore[assignment] # it takes any further arguments  # type: ignore[method-assign]
    main()
