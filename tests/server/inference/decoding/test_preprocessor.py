"""Images of every kind against the plainest possible way to prepare them."""

import io
import random
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from support.images import (
    EXIF_ORIENTATIONS,
    encode,
    grey16,
    picture,
    png_bomb,
    scan_bomb,
    with_orientation,
)

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding import resizing
from convscope.server.inference.decoding.orientation import PixelBox, cut_upright
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.v1 import manifest_pb2 as pb

HEIGHT, WIDTH, EDGE = 16, 24, 28
LIMITS = ImageLimits(max_pixels=16_000_000, max_side=8192)
# Resizing the cropped part and turning the result moves a value by rounding only.
ROUNDING = 2
SHORTEST = pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=EDGE)
EXACT = pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=20, width=30)
COLOR = (114, 0, 255)
CENTERED, CORNERED = (
    pb.Resize(
        rule=pb.RESIZE_RULE_FIT,
        padding=pb.Padding(placement=pb.Placement.ValueType(placement), color=COLOR),
    )
    for placement in (pb.PLACEMENT_CENTER, pb.PLACEMENT_TOP_LEFT)
)
RULES = pytest.mark.parametrize(
    "resize",
    [SHORTEST, EXACT, CENTERED, CORNERED],
    ids=["shortest-edge", "exact", "fit-center", "fit-top-left"],
)


def preprocessor(
    resize: pb.Resize = SHORTEST,
    color_mode: int = pb.COLOR_MODE_RGB,
    interpolation: int = pb.INTERPOLATION_BILINEAR,
    limits: ImageLimits = LIMITS,
) -> Preprocessor:
    rule = pb.Preprocessing(
        resize=resize,
        color_mode=pb.ColorMode.ValueType(color_mode),
        interpolation=pb.Interpolation.ValueType(interpolation),
    )
    return Preprocessor(rule, HEIGHT, WIDTH, limits)


def reference(
    image: Image.Image,
    resize: pb.Resize = SHORTEST,
    mode: str = "RGB",
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> NDArray[np.uint8]:
    """Turn, convert, resize the whole picture, crop the centre."""
    upright = ImageOps.exif_transpose(image).convert(mode)
    width, height = upright.size
    if resize.rule == pb.RESIZE_RULE_FIT:
        return letterbox(upright, resize, resampling)
    if resize.rule == pb.RESIZE_RULE_EXACT:
        size = resize.width, resize.height
    elif width <= height:
        size = EDGE, int(EDGE * height / width)
    else:
        size = int(EDGE * width / height), EDGE
    resized = upright.resize(size, resampling)
    left, top = round((size[0] - WIDTH) / 2), round((size[1] - HEIGHT) / 2)
    array = np.asarray(resized.crop((left, top, left + WIDTH, top + HEIGHT)))
    return array.reshape(HEIGHT, WIDTH, -1)


def letterbox(
    image: Image.Image, resize: pb.Resize, resampling: Image.Resampling
) -> NDArray[np.uint8]:
    """Fit the whole picture into the input, and fill the rest."""
    scale = min(WIDTH / image.width, HEIGHT / image.height)
    width, height = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    small = np.asarray(image.resize((width, height), resampling))
    free_x, free_y = WIDTH - width, HEIGHT - height
    left, top = 0, 0
    if resize.padding.placement == pb.PLACEMENT_CENTER:
        left, top = free_x // 2, free_y // 2
    page = np.full((HEIGHT, WIDTH, 3), COLOR, np.uint8)
    page[top : HEIGHT - (free_y - top), left : WIDTH - (free_x - left)] = small
    return page


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def assert_close(
    found: NDArray[np.uint8], expected: NDArray[np.uint8], tolerance: float = ROUNDING
) -> None:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= tolerance


def rejection(data: bytes, prepare: Preprocessor | None = None) -> str:
    """The message with which bytes are rejected."""
    with pytest.raises(InvalidInputError) as caught:
        (prepare or preprocessor()).decode(data)
    return caught.value.message


# Sizes and rules


@pytest.mark.parametrize(
    ("width", "height"),
    [(120, 80), (80, 120), (24, 16), (16, 24), (28, 28), (7, 5), (1, 1), (400, 30), (333, 217)],
)
@RULES
@pytest.mark.parametrize(
    ("interpolation", "resampling"),
    [
        (pb.INTERPOLATION_BILINEAR, Image.Resampling.BILINEAR),
        (pb.INTERPOLATION_BICUBIC, Image.Resampling.BICUBIC),
        (pb.INTERPOLATION_LANCZOS, Image.Resampling.LANCZOS),
    ],
    ids=["bilinear", "bicubic", "lanczos"],
)
def test_sizes_and_rules(
    width: int,
    height: int,
    resize: pb.Resize,
    interpolation: int,
    resampling: Image.Resampling,
) -> None:
    data = encode(picture(width, height))
    found = preprocessor(resize, interpolation=interpolation).decode(data)
    assert_close(found, reference(opened(data), resize, resampling=resampling))


def test_gray_model_gets_one_channel() -> None:
    data = encode(picture())
    found = preprocessor(color_mode=pb.COLOR_MODE_GRAY).decode(data)
    assert found.shape == (HEIGHT, WIDTH, 1)
    assert_close(found, reference(opened(data), mode="L"))


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "WEBP", "JPEG"])
def test_formats(format: str) -> None:
    data = encode(picture(), format)
    assert_close(preprocessor().decode(data), reference(opened(data)))


# Colour modes


def half_transparent() -> Image.Image:
    image = picture().convert("RGBA")
    ramp = np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))
    image.putalpha(Image.fromarray(ramp))
    return image


def on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image.convert("RGBA"))
    return page.convert("RGB")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_opaque_modes(mode: str) -> None:
    data = encode(picture().convert(mode))
    assert opened(data).mode == mode
    assert_close(preprocessor().decode(data), reference(opened(data)))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_parts_become_white(mode: str) -> None:
    data = encode(half_transparent().convert(mode))
    assert opened(data).mode == mode
    found = preprocessor().decode(data)
    assert_close(found, reference(on_white(opened(data))))
    assert found[:, 0].min() > 200  # the left edge is the most transparent


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_transparent_palette_entry_becomes_white(format: str) -> None:
    image = Image.new("P", (60, 40), 1)
    image.putpalette([200, 0, 0, 0, 90, 0])
    image.paste(0, (30, 0, 60, 40))
    data = encode(image, format, transparency=0)
    found = preprocessor().decode(data)
    assert found[8, 0].tolist() == [0, 90, 0]
    assert found[8, -1].tolist() == [255, 255, 255]


def test_palette_with_an_alpha_for_each_entry() -> None:
    data = encode(half_transparent().quantize(64))
    assert opened(data).mode == "P"
    assert isinstance(opened(data).info["transparency"], bytes)
    assert_close(preprocessor().decode(data), reference(on_white(opened(data))))


def test_transparent_colour_of_a_png_without_alpha_becomes_white() -> None:
    image = Image.new("RGB", (60, 40), (10, 20, 30))
    data = encode(image, transparency=(10, 20, 30))
    assert preprocessor().decode(data).min() == 255


def test_cmyk_jpeg() -> None:
    data = encode(picture().convert("CMYK"), "JPEG", quality=95)
    assert opened(data).mode == "CMYK"
    assert_close(preprocessor().decode(data), reference(opened(data)))


def test_gray_jpeg_for_both_kinds_of_model() -> None:
    data = encode(picture().convert("L"), "JPEG", quality=95)
    assert_close(preprocessor().decode(data), reference(opened(data)))
    gray = preprocessor(color_mode=pb.COLOR_MODE_GRAY).decode(data)
    assert_close(gray, reference(opened(data), mode="L"))


def test_grey_of_16_bits_keeps_its_range() -> None:
    eight = np.asarray(picture().convert("L"))
    wide = grey16(eight.astype(np.uint16) * 257)
    found = preprocessor(color_mode=pb.COLOR_MODE_GRAY).decode(wide)
    assert_close(found, reference(Image.fromarray(eight), mode="L"))
    assert np.ptp(found) > 50  # 16 bits cut to 8 the naive way would be all white


# EXIF


@pytest.mark.parametrize("orientation", EXIF_ORIENTATIONS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(120, 80), (80, 120)], ids=["landscape", "portrait"])
@RULES
def test_orientation(
    orientation: int, format: str, size: tuple[int, int], resize: pb.Resize
) -> None:
    data = with_orientation(picture(*size), orientation, format)
    assert_close(preprocessor(resize).decode(data), reference(opened(data), resize))


def test_orientations_differ() -> None:
    answers = [preprocessor().decode(with_orientation(picture(), o)) for o in EXIF_ORIENTATIONS]
    assert len({answer.tobytes() for answer in answers}) == len(EXIF_ORIENTATIONS)


@pytest.mark.parametrize("orientation", EXIF_ORIENTATIONS)
def test_orientation_of_a_photo_decoded_to_scale(orientation: int) -> None:
    data = with_orientation(picture(1203, 801), orientation)
    assert_close(preprocessor().decode(data), reference(opened(data)), tolerance=4)


# The transposition that stores an upright picture in each orientation.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def noisy(size: tuple[int, int]) -> Image.Image:
    """Draw a picture with detail in every pixel."""
    noise = np.random.default_rng(2).integers(-40, 41, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(picture(*size)) + noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def in_every_orientation(image: Image.Image, format: str, **options: object) -> list[bytes]:
    """Store one upright scene in each of the eight orientations."""
    files = []
    for orientation in EXIF_ORIENTATIONS:
        exif = Image.Exif()
        exif[0x0112] = orientation
        method = STORED.get(orientation)
        stored = image if method is None else image.transpose(method)
        files.append(encode(stored, format, exif=exif, **options))
    return files


@pytest.mark.parametrize("size", [(303, 201), (151, 402)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@RULES
def test_a_scene_gives_the_same_pixels_in_every_orientation(
    size: tuple[int, int], mode: str, resize: pb.Resize
) -> None:
    image = noisy(size)
    if mode == "RGBA":
        image.putalpha(image.convert("L"))
    files = in_every_orientation(image.convert(mode), "PNG")
    upright, *others = [preprocessor(resize).decode(data) for data in files]
    for other in others:
        assert_close(other, upright, 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_large_scene_gives_the_same_pixels_in_every_orientation(mode: str) -> None:
    """It has more pixels than one strip."""
    image = with_ramp(picture(1801, 1301)).convert(mode)
    files = in_every_orientation(image, "PNG", compress_level=1)
    upright, *others = [preprocessor().decode(data) for data in files]
    for other in others:
        assert_close(other, upright, 0)


def test_a_scene_in_lossless_webp_gives_the_same_pixels_in_every_orientation() -> None:
    files = in_every_orientation(noisy((303, 201)), "WEBP", lossless=True, method=0)
    upright, *others = [preprocessor().decode(data) for data in files]
    for other in others:
        assert_close(other, upright, 0)


@pytest.mark.parametrize("size", [(480, 320), (603, 401), (521, 733)])
def test_a_scene_in_jpeg_differs_by_its_encoding_only(size: tuple[int, int]) -> None:
    """The blocks of the encoder begin in another corner, which the docstring explains."""
    files = in_every_orientation(noisy(size), "JPEG", quality=95, subsampling=0)
    upright, *others = [preprocessor().decode(data) for data in files]
    for other in others:
        assert_close(other, upright, 3)


# Strips


def with_ramp(image: Image.Image) -> Image.Image:
    """Make a picture transparent towards its left edge."""
    ramp = np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))
    image = image.convert("RGBA")
    image.putalpha(Image.fromarray(ramp))
    return image


@pytest.mark.parametrize(
    "interpolation",
    [pb.INTERPOLATION_BILINEAR, pb.INTERPOLATION_BICUBIC],
    ids=["bilinear", "bicubic"],
)
@pytest.mark.parametrize("size", [(290, 200), (200, 290), (90, 800)])
@pytest.mark.parametrize("strip_pixels", [1, 20_000])
def test_images_in_strips_have_the_pixels_of_the_whole_image(
    size: tuple[int, int],
    interpolation: int,
    strip_pixels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resizing, "STRIP_PIXELS", strip_pixels)
    plain = noisy(size)
    clear, gray = with_ramp(plain), plain.convert("L")
    resampling = Image.Resampling.BILINEAR
    if interpolation == pb.INTERPOLATION_BICUBIC:
        resampling = Image.Resampling.BICUBIC
    for data, converted in (
        (encode(clear), on_white(clear)),
        (encode(clear.convert("LA")), on_white(clear.convert("LA"))),
        (encode(clear.quantize(64)), on_white(clear.quantize(64))),
        (grey16(np.asarray(gray).astype(np.uint16) * 257), gray),
        (encode(plain, "BMP"), plain),
    ):
        found = preprocessor(interpolation=interpolation).decode(data)
        assert_close(found, reference(converted, resampling=resampling))


@pytest.mark.parametrize("size", [(1500, 1500), (3000, 700), (700, 3000)])
@pytest.mark.parametrize("edge", [28, 224])
def test_strips_hardly_overlap_and_are_counted(
    size: tuple[int, int], edge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    strips: list[PixelBox] = []

    def cut(image: Image.Image, box: PixelBox, orientation: int) -> Image.Image:
        strips.append(box)
        return cut_upright(image, box, orientation)

    monkeypatch.setattr(resizing, "cut_upright", cut)
    whole = (0.0, 0.0, float(size[0]), float(size[1]))
    image, filter = Image.new("L", size), Image.Resampling.BICUBIC
    resizing.resize_upright(image, 1, whole, (edge, edge), filter, "L")
    pixels = [(right - left) * (bottom - top) for left, top, right, bottom in strips]
    assert len(strips) > 1
    assert sum(pixels) < 1.8 * size[0] * size[1]
    assert 3 * 4 * max(pixels) <= resizing.STRIP_BYTES


@pytest.mark.parametrize("value", [0, 9, 255])
def test_impossible_orientation_counts_as_upright(value: int) -> None:
    data = with_orientation(picture(), value, "PNG")
    assert_close(preprocessor().decode(data), reference(picture()))


DAMAGED_EXIF = {
    "empty": b"Exif\0\0",
    "cut in an entry": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06",
    "points beyond its end": b"Exif\0\0MM\0*\0\0\xff\x08",
    "cut in its header": b"Exif\0\0II*\0",
}


def assert_same_picture_with_exif(format: str, exif: bytes) -> None:
    data = encode(picture(), format, exif=exif)
    plain = encode(picture(), format)
    assert_close(preprocessor().decode(data), reference(opened(plain)))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("damage", ["empty", "cut in an entry", "points beyond its end"])
def test_damaged_exif_does_not_spoil_the_picture(format: str, damage: str) -> None:
    assert_same_picture_with_exif(format, DAMAGED_EXIF[damage])


@pytest.mark.parametrize(
    "format",
    [
        "JPEG",
        *(
            pytest.param(
                format,
            )
            for format in ("PNG", "WEBP")
        ),
    ],
)
def test_exif_cut_in_its_header_does_not_spoil_the_picture(format: str) -> None:
    assert_same_picture_with_exif(format, DAMAGED_EXIF["cut in its header"])


# Scaled JPEG decoding


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(500, 375), (1024, 768), (4000, 3000), (3001, 777), (97, 61)])
def test_scaled_decoding_is_close_to_full_decoding(
    size: tuple[int, int], progressive: bool
) -> None:
    data = encode(picture(*size), "JPEG", quality=95, progressive=progressive)
    assert_close(preprocessor().decode(data), reference(opened(data)), tolerance=4)


def test_scaled_decoding_of_a_noisy_photo_is_close_on_average() -> None:
    noise = np.random.default_rng(3).integers(-60, 61, (900, 1200, 3))
    pixels = np.clip(np.asarray(picture(1200, 900)) + noise, 0, 255).astype(np.uint8)
    data = encode(Image.fromarray(pixels), "JPEG", quality=90)
    found, expected = preprocessor().decode(data), reference(opened(data))
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.mean() < 1.5
    assert difference.max() <= 8


@pytest.mark.parametrize("color_mode", [pb.COLOR_MODE_RGB, pb.COLOR_MODE_GRAY])
def test_scaled_decoding_of_cmyk(color_mode: int) -> None:
    data = encode(picture(800, 600).convert("CMYK"), "JPEG", quality=95)
    mode = "RGB" if color_mode == pb.COLOR_MODE_RGB else "L"
    found = preprocessor(color_mode=color_mode).decode(data)
    assert_close(found, reference(opened(data), mode=mode), tolerance=4)


# Animations


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (60, 40), color) for color in ("red", "blue")]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:])
    found = preprocessor().decode(data)
    assert found[..., 0].min() > 230
    assert found[..., 2].max() < 25


# What is no image


def test_text_is_rejected_without_being_quoted() -> None:
    message = rejection(b"hello, I am a cat")
    assert "17 bytes" in message
    assert "hello" not in message  # messages are logged, and no part of an image is
    assert "use JPEG, PNG, WebP, BMP or GIF" in message


def test_nothing_is_rejected() -> None:
    assert "empty (0 bytes)" in rejection(b"")


@pytest.mark.parametrize("format", ["TIFF", "ICO", "PPM", "TGA", "PCX", "EPS", "PDF"])
def test_content_of_other_formats_is_rejected(format: str) -> None:
    assert "not an image" in rejection(encode(picture(32, 32), format))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_truncated_image_is_rejected(format: str, kept: float) -> None:
    whole = encode(picture(), format)
    message = rejection(whole[: int(kept * len(whole))])
    assert "truncated" in message or "damaged" in message or "not an image" in message


def test_truncated_image_says_so_with_its_format() -> None:
    whole = encode(picture(), "JPEG", quality=95)
    message = rejection(whole[: len(whole) // 2])
    assert message == (
        f"the JPEG image of {len(whole) // 2:,} bytes is truncated; use a whole file"
    )


def mutants(seed: int) -> list[bytes]:
    """Damaged images of every format, the same ones for the same seed."""
    rng = random.Random(seed)
    whole = [encode(picture(40, 30), f) for f in ("JPEG", "PNG", "WEBP", "BMP", "GIF")]
    whole += [with_orientation(picture(40, 30), 6, f) for f in ("JPEG", "PNG")]
    whole += [encode(picture(40, 30).convert("P"), f) for f in ("PNG", "GIF", "BMP")]
    whole += [encode(picture(40, 30), "JPEG", progressive=True)]
    damaged = []
    for _ in range(1500):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 1, 2, 5])):
            place = rng.randrange(min(len(data), rng.choice([64, 400, len(data)])))
            data[place] = rng.choice([0, 255, rng.randrange(256)])
        damaged.append(bytes(data if rng.random() < 0.7 else data[: rng.randrange(len(data))]))
    return damaged


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("seed", range(3))
def test_damaged_images_are_decoded_or_rejected(seed: int) -> None:
    prepare = preprocessor(limits=ImageLimits(max_pixels=100_000, max_side=1000))
    decoded = rejected = 0
    for data in mutants(seed):
        try:
            array = prepare.decode(data)
        except InvalidInputError:
            rejected += 1
            continue
        assert array.shape == (HEIGHT, WIDTH, 3)
        decoded += 1
    assert decoded > 100
    assert rejected > 100


# Bombs and limits


def test_bomb_is_rejected_before_it_is_decoded() -> None:
    data = png_bomb()
    assert len(data) < 60_000
    message = rejection(data)
    assert "20,000 x 20,000" in message
    assert "16,000,000 pixels" in message
    assert "8,192 a side" in message
    assert "scale it down" in message


@pytest.mark.parametrize("size", [(101, 1), (1, 101), (50, 21)])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_size_limits(size: tuple[int, int], format: str) -> None:
    prepare = preprocessor(limits=ImageLimits(max_pixels=1000, max_side=100))
    assert f"{size[0]} x {size[1]} pixels" in rejection(encode(picture(*size), format), prepare)


@pytest.mark.parametrize("size", [(100, 10), (10, 100), (40, 25)])
def test_size_at_the_limit_is_taken(size: tuple[int, int]) -> None:
    prepare = preprocessor(limits=ImageLimits(max_pixels=1000, max_side=100))
    assert prepare.decode(encode(picture(*size))).shape == (HEIGHT, WIDTH, 3)


def test_size_limits_hold_for_pixels() -> None:
    prepare = preprocessor(limits=ImageLimits(max_pixels=1000, max_side=100))
    with pytest.raises(InvalidInputError, match="50 x 21 pixels"):
        prepare.prepare(np.zeros((21, 50, 3), np.uint8))


def test_progressive_scan_bomb_is_rejected() -> None:
    assert "more than 64 scans" in rejection(scan_bomb(65))
    assert "more than 64 scans" in rejection(scan_bomb(5000))


def test_ordinary_progressive_jpeg_is_taken() -> None:
    data = encode(picture(300, 200), "JPEG", progressive=True)
    assert 1 < data.count(b"\xff\xda") <= 64
    assert_close(preprocessor().decode(data), reference(opened(data)), tolerance=4)
    assert preprocessor().decode(scan_bomb(64)).shape == (HEIGHT, WIDTH, 3)


# Decoded pixels


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pixels_are_treated_like_the_encoded_image(mode: str) -> None:
    image = half_transparent().convert(mode)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    assert_close(preprocessor().prepare(pixels), preprocessor().decode(encode(image)), 0)


@pytest.mark.parametrize("view", [np.fliplr, np.flipud, lambda a: a[::2, ::3]])
def test_pixels_of_any_memory_layout(
    view: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> None:
    pixels = view(np.asarray(picture()))
    found = preprocessor().prepare(pixels)
    assert_close(found, preprocessor().prepare(np.ascontiguousarray(pixels)), 0)


def test_crafted_chunk_behind_the_picture_is_no_server_error() -> None:
    """An empty iCCP chunk after IDAT makes Pillow raise IndexError."""
    data = encode(picture(), "PNG")
    chunk = b"\0\0\0\0iCCP" + zlib.crc32(b"iCCP").to_bytes(4, "big")
    crafted = data[:-12] + chunk + data[-12:]
    try:
        found = preprocessor().decode(crafted)
    except InvalidInputError:
        return
    assert found.shape == (HEIGHT, WIDTH, 3)
