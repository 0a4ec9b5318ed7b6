"""Photos of several sizes with sensor noise, and the requests that contain them."""

from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.context import ROOT
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["SIZES", "digit", "image_message", "jpeg", "pixels_224", "tensor_message"]

COFFEE = ROOT / "tests" / "data" / "coffee.png"
DIGITS = ROOT / "tests" / "data" / "digits"
SIZES = {"500x375": (500, 375), "1024x768": (1024, 768), "4000x3000": (4000, 3000)}
# Standard deviation in gray levels at mid-gray: a phone's sensor indoors.
NOISE = 5.0
QUALITY = 90


@cache
def jpeg(size: str) -> bytes:
    """Make a JPEG with 4:2:0 chroma, as cameras do."""
    image = Image.open(COFFEE).convert("RGB").resize(SIZES[size], Image.Resampling.BICUBIC)
    out = BytesIO()
    Image.fromarray(with_noise(np.asarray(image))).save(
        out, "JPEG", quality=QUALITY, subsampling="4:2:0"
    )
    return out.getvalue()


def with_noise(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add shot noise, whose variance grows with the brightness; uint8 [H, W, 3]."""
    random = np.random.default_rng(0)
    sigma = NOISE * np.sqrt(pixels / 128.0 + 0.1)
    noisy = pixels + random.standard_normal(pixels.shape) * sigma
    return np.clip(noisy.round(), 0, 255).astype(np.uint8)


@cache
def pixels_224() -> bytes:
    """Return a photo at the input size of both large networks, uint8 [224, 224, 3]."""
    image = Image.open(COFFEE).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return image.tobytes()


@cache
def digit(number: int = 3) -> bytes:
    """Return the pixels of a digit, uint8 [28, 28, 1]."""
    return Image.open(DIGITS / f"{number}.png").convert("L").tobytes()


def tensor_message(model: str, data: bytes, shape: tuple[int, ...], **options: object) -> bytes:
    """Serialize a ClassifyRequest with a tensor in the graph's own shape."""
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=shape, data=data)
    return _message(model, pb.Input(tensor=tensor), options)


def image_message(model: str, data: bytes, **options: object) -> bytes:
    """Serialize a ClassifyRequest with an encoded image."""
    return _message(model, pb.Input(encoded_image=data), options)


def _message(model: str, item: pb.Input, options: dict[str, object]) -> bytes:
    request = pb.ClassifyRequest(model=model, inputs=[item], **options)  # type: ignore[arg-type]
    return request.SerializeToString()
