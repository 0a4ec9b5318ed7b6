"""Encoded photos made from real ones: sizes, noise, formats, colors, orientations."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from support.images import EXIF_ORIENTATIONS, encode, grey16

__all__ = ["Photo", "photos"]

ROOT = Path(__file__).resolve().parents[2]
COFFEE = ROOT / "tests" / "data" / "coffee.png"
SHIPPED = ROOT / "exporter" / "convscope" / "exporter" / "data" / "photos"
TWELVE_MEGAPIXELS = (4000, 3000)
# Standard deviations of sensor noise in gray levels at mid-gray: none, a phone
# indoors, a phone at night.
NOISES = (0.0, 5.0, 15.0)
QUALITIES = (60, 75, 85, 90, 95)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Photo:
    """One file, named by its content and encoding."""

    name: str
    data: bytes


def photos() -> Iterator[Photo]:
    """Generate all photos, about 200. The largest have 12 megapixels."""
    jpegs = (_shipped, _sizes, _encodings, _large, _crops, _shapes, _details, _orientations)
    return chain.from_iterable(
        kind() for kind in (*jpegs, _colors, _formats, _transparent, _strips)
    )


# Pictures


@cache
def _real(name: str) -> Image.Image:
    """Open a photo in its upright orientation."""
    path = COFFEE if name == COFFEE.name else SHIPPED / name
    return ImageOps.exif_transpose(Image.open(path))


@cache
def _colored() -> tuple[tuple[str, Image.Image], ...]:
    files = {"coffee": "coffee.png", "rocket": "rocket_exif6.jpg", "retina": "retina_large.jpg"}
    return tuple((name, _real(file).convert("RGB")) for name, file in files.items())


def _scene(name: str, size: Size, noise: float = 0.0) -> Image.Image:
    """Crop a photo to an aspect ratio, resize it and add sensor noise."""
    image = _fitted(name, size)
    return _with_noise(image, noise) if noise else image


@lru_cache(maxsize=1)  # the same scene follows with another noise
def _fitted(name: str, size: Size) -> Image.Image:
    return ImageOps.fit(dict(_colored())[name], size, Image.Resampling.LANCZOS)


def _with_noise(image: Image.Image, noise: float) -> Image.Image:
    """Add shot noise, whose variance grows with brightness."""
    pixels = np.asarray(image)  # uint8 [H, W, 3]
    sigma = noise * np.sqrt(np.arange(256, dtype=np.float32) / 128 + 0.1)  # by brightness
    noisy = np.random.default_rng(image.width).standard_normal(pixels.shape, np.float32)
    # In place: twelve megapixels are 144 MB.
    noisy *= sigma[pixels]
    noisy += pixels
    np.rint(noisy, out=noisy)
    np.clip(noisy, 0, 255, out=noisy)
    return Image.fromarray(noisy.astype(np.uint8))


def _mosaic(size: Size) -> Image.Image:
    """Tile real photos without enlarging them, so that every pixel has detail."""
    page = Image.new("RGB", size)
    tiles = cycle(image for _, image in _colored())
    for top in range(0, size[1], 400):
        for left in range(0, size[0], 600):
            page.paste(ImageOps.fit(next(tiles), (600, 400)), (left, top))
    return page


def _with_ramp(image: Image.Image) -> Image.Image:
    """Make a photo transparent towards its left edge."""
    ramp = np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))
    image = image.convert("RGBA")
    image.putalpha(Image.fromarray(ramp))
    return image


# Kinds of photos


def _shipped() -> Iterator[Photo]:
    for path in (COFFEE, *sorted(SHIPPED.glob("*.[jp]*g"))):
        yield Photo(f"file {path.name}", path.read_bytes())


def _sizes() -> Iterator[Photo]:
    """From thumbnails to a few megapixels, with and without noise, in alternating encodings."""
    sizes = [(96, 64), (224, 224), (320, 240), (500, 375), (640, 480), (800, 600), (1024, 768)]
    sizes += [(1280, 960), (1365, 1024), (1600, 1200), (1920, 1080), (2048, 1536), (2592, 1944)]
    scenes, qualities = cycle(name for name, _ in _colored()), cycle(QUALITIES)
    subsamplings = cycle(SUBSAMPLINGS[::-1])
    for size in sizes:
        for noise in NOISES:
            scene, quality = next(scenes), next(qualities)
            yield _jpeg(scene, _scene(scene, size, noise), noise, quality, next(subsamplings))
        next(scenes)


def _encodings() -> Iterator[Photo]:
    """Every quality and chroma subsampling, baseline and progressive."""
    for size, noise in (((1100, 825), 5.0), ((2200, 1650), 0.0)):
        image = _scene("coffee", size, noise)
        for quality in QUALITIES:
            for index, subsampling in enumerate(SUBSAMPLINGS):
                progressive = bool((quality // 5 + index) % 2)
                yield _jpeg("coffee", image, noise, quality, subsampling, progressive)


def _large() -> Iterator[Photo]:
    """Twelve megapixels, as from phones. Smaller photos have the other combinations."""
    turned = TWELVE_MEGAPIXELS[::-1]
    yield _jpeg("coffee", _scene("coffee", TWELVE_MEGAPIXELS), 0.0, 90, "4:2:0")
    noisy = _scene("coffee", TWELVE_MEGAPIXELS, 15.0)
    yield _jpeg("coffee", noisy, 15.0, 75, "4:4:4", progressive=True)
    yield _jpeg("rocket", _scene("rocket", turned, 5.0), 5.0, 95, "4:2:2")
    yield _jpeg("retina", _scene("retina", turned, 15.0), 15.0, 60, "4:2:0", progressive=True)


def _crops() -> Iterator[Photo]:
    """Parts of the photos, at original size and enlarged."""
    qualities = cycle(QUALITIES)
    for name, image in _colored():
        width, height = image.size
        for x, y in ((0, 0), (0.4, 0.1), (0.3, 0.4)):
            left, top = round(x * width), round(y * height)
            part = image.crop((left, top, left + round(0.6 * width), top + round(0.6 * height)))
            yield _jpeg(f"part of {name}", part, 0.0, next(qualities), "4:2:0")
            large = part.resize((part.width * 4, part.height * 4), Image.Resampling.LANCZOS)
            noisy = _with_noise(large, 5.0)
            yield _jpeg(f"part of {name}", noisy, 5.0, next(qualities), "4:2:0")


def _shapes() -> Iterator[Photo]:
    """Unusual aspect ratios, and edges within a block of the JPEG."""
    sizes = [(1999, 501), (333, 2001), (3001, 777), (400, 3500), (1025, 1023), (2049, 1537)]
    sizes += [(1031, 1033), (517, 3999), (97, 1201), (4097, 1031)]
    for size, subsampling in zip(sizes, cycle(SUBSAMPLINGS), strict=False):
        for scene, noise in (("coffee", 5.0), ("rocket", 0.0)):
            yield _jpeg(scene, _scene(scene, size, noise), noise, 85, subsampling)


def _details() -> Iterator[Photo]:
    """Detail in every pixel, which makes the effect of scaling largest."""
    for size in ((1200, 800), (2400, 1600), (3600, 2400)):
        image = _mosaic(size)
        for subsampling in SUBSAMPLINGS:
            yield _jpeg("mosaic", image, 0.0, 95, subsampling, progressive=subsampling == "4:2:2")


def _orientations() -> Iterator[Photo]:
    """Every EXIF orientation of a photo decoded at full, half and quarter size."""
    for size, noise in (((501, 377), 0.0), ((1603, 1205), 5.0), ((3205, 2403), 5.0)):
        image = _scene("coffee", size, noise)
        for orientation in EXIF_ORIENTATIONS:
            exif = Image.Exif()
            exif[0x0112] = orientation
            name = f"coffee {size[0]}x{size[1]} noise {noise} turned {orientation}"
            yield Photo(name, encode(image, "JPEG", quality=90, exif=exif))


def _colors() -> Iterator[Photo]:
    """JPEG in gray and CMYK."""
    for size, noise in (((640, 480), 0.0), ((1300, 975), 5.0), ((3200, 2400), 5.0)):
        image = _scene("coffee", size, noise)
        for mode in ("L", "CMYK"):
            for progressive in (False, True):
                yield _jpeg("coffee", image.convert(mode), noise, 90, "4:4:4", progressive)


def _formats() -> Iterator[Photo]:
    """Opaque pictures in formats without scaled decoding."""
    for size, noise in (((600, 400), 0.0), ((1501, 999), 5.0)):
        image = _scene("coffee", size, noise)
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        kind = f"coffee {size[0]}x{size[1]} noise {noise}"
        for mode in ("RGB", "L", "P", "1"):
            yield Photo(f"{kind} PNG {mode}", encode(image.convert(mode)))
        yield Photo(f"{kind} PNG grey of 16 bits", grey16(grey))
        yield Photo(f"{kind} PNG RGB of 16 bits", _png16(np.asarray(image)))
        for mode in ("RGB", "L", "P"):
            yield Photo(f"{kind} BMP {mode}", encode(image.convert(mode), "BMP"))
        yield Photo(f"{kind} GIF", encode(image.quantize(256), "GIF"))
        for quality in (60, 90):
            yield Photo(f"{kind} WebP {quality}", encode(image, "WEBP", quality=quality, method=0))
        yield Photo(f"{kind} WebP lossless", encode(image, "WEBP", lossless=True, method=0))


def _transparent() -> Iterator[Photo]:
    """Pictures with transparency."""
    horse, faded = _real("horse_alpha.png"), _with_ramp(_scene("coffee", (900, 600)))
    for name, image in (("horse", horse), ("faded coffee", faded)):
        for mode in ("RGBA", "LA"):
            yield Photo(f"{name} PNG {mode}", encode(image.convert(mode)))
        yield Photo(f"{name} PNG palette", encode(image.quantize(64)))
        yield Photo(f"{name} GIF", encode(image, "GIF"))
        yield Photo(f"{name} WebP", encode(image, "WEBP", method=0))


def _strips() -> Iterator[Photo]:
    """Pictures of several megapixels that are turned or converted, which is done in strips."""
    image = _scene("coffee", (2501, 1667), 5.0)
    exif = Image.Exif()
    exif[0x0112] = 6
    faded = _with_ramp(image)
    gray = np.asarray(image.convert("L")).astype(np.uint16) * 257
    yield Photo("large PNG turned 6", encode(image, exif=exif, compress_level=1))
    yield Photo("large PNG RGBA", encode(faded, compress_level=1))
    yield Photo("large PNG RGBA turned 6", encode(faded, exif=exif, compress_level=1))
    yield Photo("large PNG LA", encode(faded.convert("LA"), compress_level=1))
    yield Photo("large PNG palette", encode(faded.quantize(64), compress_level=1))
    yield Photo("large PNG grey of 16 bits", grey16(gray))
    yield Photo("large WebP RGBA", encode(faded, "WEBP", method=0))


# Files


def _jpeg(
    scene: str,
    image: Image.Image,
    noise: float,
    quality: int,
    subsampling: str,
    progressive: bool = False,
) -> Photo:
    kind = "progressive" if progressive else "baseline"
    name = f"{scene} {image.width}x{image.height} noise {noise} JPEG {image.mode} {kind} {quality}"
    options = {"quality": quality, "progressive": progressive}
    if image.mode == "RGB":
        name, options["subsampling"] = f"{name} {subsampling}", SUBSAMPLINGS.index(subsampling)
    return Photo(name, encode(image, "JPEG", **options))


def _png16(pixels: NDArray[np.uint8]) -> bytes:
    """Encode uint8 [H, W, 3] as PNG with 16 bits per channel, which Pillow can't write."""
    height, width, _ = pixels.shape
    rows = (pixels.astype(">u2") * 257).reshape(height, -1).view(np.uint8)  # [H, W * 6]
    filtered = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # each row starts with "no filter"
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, io.SEEK_END)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(filtered, 1)), (b"IEND", b"")):
        out.write(struct.pack(">I", len(body)) + kind + body)
        out.write(struct.pack(">I", zlib.crc32(kind + body)))
    return out.getvalue()
