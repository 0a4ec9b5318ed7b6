"""Metadata doesn't reach the decoder, and what is expensive to decode is rejected."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from support.attack_images import (
    ORIENTATION_6,
    after_start,
    arithmetic,
    before_frame,
    chunk,
    empty_blocks,
    in_scan,
    jpeg,
    png,
    repeated_scans,
    riff,
    run_length,
    segment,
    segments,
)
from support.damage import kinds_of_images, textured
from support.images import encode, picture, with_orientation

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.headers import read_header
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.server.inference.decoding.structure import inspect
from convscope.server.inference.decoding.structure.metadata import exif_orientation
from convscope.v1 import manifest_pb2 as pb

RULE = pb.Preprocessing(
    resize=pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=80, width=120),
    color_mode=pb.COLOR_MODE_RGB,
    interpolation=pb.INTERPOLATION_BILINEAR,
)
PREPROCESSOR = Preprocessor(RULE, 80, 120, ImageLimits(16_000_000, 8192))
PICTURE = textured()
JPEG = encode(PICTURE, "JPEG", quality=90)
XMP_6 = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
EXIF_6 = b"Exif\0\0" + ORIENTATION_6
MIB = 2**20


def assert_same_pixels_as_pillow(data: bytes) -> None:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    transparent = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
    expected = PREPROCESSOR.prepare(np.asarray(transparent))
    assert np.array_equal(PREPROCESSOR.decode(data), expected)


def stream_of(data: bytes) -> bytes:
    header = read_header(data)
    assert header is not None
    return bytes(inspect(data, header).data)


def rejection(data: bytes) -> str:
    with pytest.raises(InvalidInputError) as caught:
        PREPROCESSOR.decode(data)
    return caught.value.message


# Metadata


def camera_jpeg() -> bytes:
    """Build a JPEG with everything that a camera and Photoshop write before the pixels."""
    return after_start(
        segment(0xE1, EXIF_6 + bytes(60_000))
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_6.replace(b"6", b"3"))
        + segment(0xED, b"Photoshop 3.0\0" + b"8BIM" + bytes(5000))
        + b"".join(
            segment(0xE2, b"ICC_PROFILE\0" + bytes((number, 9)) + bytes(60_000))
            for number in range(1, 10)
        )
        + segment(0xE2, b"MPF\0MM\0*" + bytes(100))
        + segment(0xFE, b"a comment")
        + b"\xff" * 300,
        JPEG,
    )


def annotated_png(exif: bool = True) -> bytes:
    info = PngInfo()
    info.add_text("Comment", "x" * 5000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP_6.decode(), zip=True)
    return encode(
        PICTURE,
        pnginfo=info,
        icc_profile=bytes(3000),
        dpi=(300, 300),
        exif=EXIF_6 if exif else None,
    )


def annotated_webp() -> bytes:
    return encode(PICTURE, "WEBP", exif=EXIF_6, xmp=XMP_6, icc_profile=bytes(3000), quality=90)


def annotated_gif() -> bytes:
    data = encode(PICTURE.quantize(32), "GIF", transparency=3)
    xmp = b"!\xff\x0bXMP DataXMP" + XMP_6 + bytes(range(255, -1, -1)) + b"\0"
    return before_frame(b"!\xfe" + b"\xc8" + b"a" * 200 + b"\0" + xmp, data)


ANNOTATED: dict[str, Callable[[], bytes]] = {
    "JPEG": camera_jpeg,
    "PNG": annotated_png,
    "WebP": annotated_webp,
    "GIF": annotated_gif,
}


@pytest.mark.parametrize("kind", ANNOTATED)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_file_with_metadata_gives_the_pixels_that_pillow_decodes(kind: str) -> None:
    assert_same_pixels_as_pillow(ANNOTATED[kind]())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_decoder_reads_a_file_without_metadata(kind: str) -> None:
    found = stream_of(ANNOTATED[kind]())
    image = Image.open(io.BytesIO(found))
    image.load()
    assert not {"exif", "xmp", "icc_profile", "comment", "photoshop", "Comment"} & set(image.info)
    assert len(found) < len(ANNOTATED[kind]())


def test_ordinary_files_are_not_copied() -> None:
    for data in (JPEG, encode(PICTURE), encode(PICTURE.quantize(8), "GIF"), annotated_webp()):
        assert stream_of(data) is data


KINDS = kinds_of_images()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "16 bits" not in kind])
def test_every_kind_of_image_gives_the_pixels_that_pillow_decodes(kind: str) -> None:
    assert_same_pixels_as_pillow(KINDS[kind])


@pytest.mark.parametrize("profile", ["Adobe", "no Adobe"])
def test_segments_that_name_the_color_space_reach_the_decoder(profile: str) -> None:
    data = encode(PICTURE, "JPEG", quality=90, keep_rgb=True)
    if profile == "no Adobe":  # libjpeg then guesses by the names of the channels
        start = data.index(b"\xff\xee")
        data = data[:start] + data[start + 16 :]
    assert_same_pixels_as_pillow(after_start(segment(0xFE, b"a comment"), data))


def test_thumbnail_in_the_jfif_segment_is_no_metadata_that_matters() -> None:
    start = JPEG.index(b"\xff\xe0")
    jfif = JPEG[start + 4 : start + 16] + b"\x90\x90" + bytes(0x90 * 0x90 * 3)
    assert_same_pixels_as_pillow(JPEG[:start] + segment(0xE0, jfif) + JPEG[start + 18 :])


# Orientation


def tiff(order: str, kind: int, value: bytes, entries: int = 1) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    other = struct.pack(f"{order}HHL4s", 0x010F, 2, 4, b"abc\0") * (entries - 1)
    entry = struct.pack(f"{order}HHL4s", 0x0112, kind, 1, value)
    return mark + struct.pack(f"{order}LH", 8, entries) + other + entry + bytes(4)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (tiff(">", 3, b"\0\6"), 6),
        (tiff("<", 3, b"\6\0"), 6),
        (tiff("<", 4, b"\6\0\0\0"), 6),
        (tiff(">", 1, b"\6"), 6),
        (tiff("<", 3, b"\6\0", entries=40), 6),
        (tiff("<", 3, b"\6\0", entries=5000), None),
        (tiff("<", 2, b"6\0"), None),
        (b"MM\0*" + b"\xff" * 100, None),
        (tiff(">", 3, b"\0\6")[:20], None),
        (b"", None),
    ],
)
def test_orientation_in_exif(profile: bytes, expected: int | None) -> None:
    assert exif_orientation(profile) == exif_orientation(b"Exif\0\0" + profile) == expected


def raw_profile(compressed: bool) -> bytes:
    """Build a PNG as ImageMagick does: EXIF as hexadecimal text."""
    digits = EXIF_6.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    info = PngInfo()
    text = f"\nexif\n{len(EXIF_6):8}\n{lines}\n"
    info.add_text("Raw profile type exif", text, zip=compressed)
    return encode(PICTURE, pnginfo=info)


@pytest.mark.parametrize(
    "data",
    [
        after_start(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_6), JPEG),
        annotated_png(exif=False),
        raw_profile(compressed=False),
        raw_profile(compressed=True),
        encode(PICTURE, "WEBP", xmp=XMP_6),
        after_start(segment(0xE1, EXIF_6) + segment(0xE1, EXIF_6.replace(b"\6", b"\3")), JPEG),
    ],
    ids=["JPEG XMP", "PNG XMP", "PNG profile", "PNG zTXt profile", "WebP XMP", "two profiles"],
)
def test_orientation_is_found_where_pillow_finds_it(data: bytes) -> None:
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == 6
    assert_same_pixels_as_pillow(data)


@pytest.mark.parametrize("flags", [0, 0x10])
def test_lossless_webp_with_transparent_pixels_whatever_its_flags_state(flags: int) -> None:
    image = PICTURE.convert("RGBA")
    image.putalpha(PICTURE.convert("L"))
    pixels = encode(image, "WEBP", lossless=True)[20:]
    size = (119).to_bytes(3, "little") + (79).to_bytes(3, "little")
    data = riff((b"VP8X", struct.pack("<I", flags) + size), (b"VP8L", pixels))
    assert_same_pixels_as_pillow(data)


# Animations


def frames(**options: object) -> bytes:
    first = Image.new("RGBA", PICTURE.size)
    first.paste(PICTURE.crop((0, 0, 60, 40)), (30, 20))
    return encode(first, "WEBP", save_all=True, append_images=[PICTURE.convert("RGBA")], **options)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}])
def test_first_frame_of_an_animated_webp(options: dict[str, object]) -> None:
    assert_same_pixels_as_pillow(frames(**options))


def test_first_frame_that_covers_a_part_of_its_canvas() -> None:
    data = encode(PICTURE.crop((0, 0, 60, 40)), "WEBP")
    pixels = data[12:]
    for flags in (2, 0x12):  # without and with an alpha channel
        size = (119).to_bytes(3, "little") + (79).to_bytes(3, "little")
        area = b"\x0a\0\0\x05\0\0" + b"\x3b\0\0" + b"\x27\0\0" + bytes(4)
        whole = riff(
            (b"VP8X", struct.pack("<I", flags) + size),
            (b"ANIM", bytes(6)),
            (b"ANMF", area + pixels),
            (b"ANMF", area + pixels),
        )
        assert_same_pixels_as_pillow(whole)


# Limits


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            after_start(segments(0xE1, EXIF_6, MIB)),
            "more than 96 segments before its pixels; save it again, without metadata",
        ),
        (
            after_start(b"\xff" * 5000),
            "more than 4,096 bytes between its segments; save it again, without metadata",
        ),
        (
            after_start(segments(0xDB, (b"\0" + bytes(range(1, 65))) * 500, MIB)),
            "more than 131,072 bytes of tables; save it again",
        ),
        (in_scan(b"\xff" * 200_000), "more than 4,096 fill bytes in a scan; save it again"),
        (arithmetic(), "arithmetic coding, which isn't supported; save it as baseline JPEG"),
        (
            JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"),
            "12 bits per channel; save it with 8",
        ),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc3"), "lossless or hierarchical coding"),
        (
            repeated_scans(jpeg(4000, 3000, progressive=True), 40),
            "34 or more scans of 12,000,000 pixels, and at most 400,000,000 in all scans",
        ),
        (
            jpeg(4000, 4000, progressive=True, subsampling=0),
            "4,000 x 4,000 pixels with several scans; at most 13,333,333 of these are allowed",
        ),
        (
            png(64, 64, before=[chunk(b"teSt") * 6000]),
            "more than 4,166 chunks; save it again",
        ),
        (
            png(8, 8, stream=empty_blocks(b"\x78\x9c\3\0", "", 100_000)),
            "100,004 bytes of compressed pixels, and at most 65,833 can be needed for 8 x 8 pixels",
        ),
        (
            riff(*[(b"teSt", b"")] * 3000, (b"VP8 ", encode(PICTURE, "WEBP")[20:])),
            "are not an image",
        ),
        (
            before_frame(b"!\xfe\0" * 2000),
            "blocks before its first frame; save it again, without metadata",
        ),
        (
            run_length(2000, 1000, b"\1\1" * 100),
            "2,000,000 pixels and 1,278 bytes with run-length encoding, and at most 1,000,000",
        ),
    ],
    ids=[
        *("segments", "fill bytes", "tables", "fill bytes in a scan", "arithmetic", "12 bits"),
        *("lossless", "scans", "coefficients", "chunks", "blocks", "WebP", "GIF", "run lengths"),
    ],
)
def test_message_names_the_value_and_the_limit(data: bytes, message: str) -> None:
    assert message in rejection(data)


def test_chunks_of_a_webp_are_limited() -> None:
    canvas = (b"VP8X", bytes(4) + b"\x77\0\0\x4f\0\0")
    pixels = (b"VP8 ", encode(PICTURE, "WEBP")[20:])
    assert PREPROCESSOR.decode(riff(canvas, *[(b"teSt", b"")] * 100, pixels)).any()
    assert "more than 1,050 chunks; save it again" in rejection(
        riff(canvas, *[(b"teSt", b"")] * 3000, pixels)
    )


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS"])
def test_png_with_a_second_header_or_palette_is_damaged(kind: bytes) -> None:
    palette = chunk(b"PLTE", bytes(192)) + chunk(b"tRNS", b"\0")
    data = png(8, 8, color=3, before=[palette, chunk(kind, bytes(13))])
    assert "damaged" in rejection(data)


def test_metadata_with_a_compressed_gigabyte_is_not_expanded() -> None:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP_6.decode() + " " * 40_000_000, zip=True)
    info.add_text("Comment", "x" * 40_000_000, zip=True)
    data = encode(PICTURE, pnginfo=info)
    turned = PREPROCESSOR.decode(with_orientation(PICTURE, 6, "PNG"))
    assert np.array_equal(PREPROCESSOR.decode(data), turned)


def test_further_frames_of_a_png_are_not_read() -> None:
    data = encode(PICTURE, save_all=True, append_images=[picture(), picture()])
    assert b"fdAT" in data
    assert b"fdAT" not in stream_of(data)
    assert_same_pixels_as_pillow(data)
