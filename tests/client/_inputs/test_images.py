"""Images of every accepted kind as inputs of a request."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.client import InvalidInputError, Tensor
from convscope.client._calls.requests import encode_image, encode_template
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb


def encode(image: Any) -> pb.Input:
    field = encode_image(encode_template("m"), image).field
    (image_input,) = pb.ClassifyRequest.FromString(field).inputs
    return image_input


def pixels(image: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    tensor = encode(image).pixels
    assert tensor.dtype == mpb.DATA_TYPE_UINT8
    return np.frombuffer(tensor.data, np.uint8).reshape(tuple(tensor.shape))


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, 3_000_000])
def test_an_image_is_serialized_as_protobuf_does_it(size: int) -> None:
    data = bytes(size)
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[size], data=data)
    for image, content in (
        (data, pb.Input(encoded_image=data)),
        (Tensor(np.zeros(size, np.uint8)), pb.Input(tensor=tensor)),
    ):
        field = encode_image(encode_template("m"), image).field
        assert field == pb.ClassifyRequest(inputs=[content]).SerializeToString()


@pytest.mark.parametrize("array", [np.arange(24, dtype=np.uint8).reshape(2, 4, 3)])
@pytest.mark.parametrize("turn", [lambda a: a, lambda a: a[::-1], np.asfortranarray])
def test_uint8_arrays_are_pixels(array: Any, turn: Any) -> None:
    assert np.array_equal(pixels(turn(array)), turn(array))


def test_a_gray_array_gets_a_channel() -> None:
    assert pixels(np.zeros((2, 5), np.uint8)).shape == (2, 5, 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((4, 4, 3), np.float32),
            r"float32 \[4, 4, 3\]: .* 0 to 0, .*; give .*from_float\(",
        ),
        (np.full((4, 4, 3), 200.0), r"from 200 to 200; give array\.astype\(np\.uint8\)"),
        (np.full((4, 4, 3), -1.5), "from -1.5 to -1.5.*undo its normalization"),
        (np.full((4, 4), np.nan), "NaN or infinity"),
        (np.zeros((4, 4, 3), np.int64), r"int64.*astype\(np\.uint8\).*give Tensor\(array\)"),
        (np.zeros((4, 4), np.uint16), "16 bits as 8"),
        (np.zeros((4, 4), bool), r"\* 255"),
        (np.zeros((4, 4), "U1"), "pixels are uint8"),
        (np.zeros((3, 5, 5), np.uint8), r"channels come first; give array\.transpose\(1, 2, 0\)"),
        (np.zeros((3, 5, 5), np.float32), r"transpose\(1, 2, 0\)"),
        (np.zeros((5, 5, 2), np.uint8), "it has 2 channels; pixels are"),
        (np.zeros((7, 4, 4, 3), np.uint8), r"batch of 7 images; call classify_many\(array\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"uint8 \[1, 4, 4, 3\].*give array\[0\]"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \[0, 4, 3\].*no pixels"),
        (np.zeros(5, np.uint8), "not that of an image"),
        (np.zeros((2000, 2000, 3), np.uint8), "give the encoded file instead"),
    ],
)
def test_other_arrays_are_rejected_with_a_hint(array: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        encode(array)


class Foreign:
    """Has what the tensors of other frameworks have."""

    def numpy(self) -> Any:
        return np.zeros((2, 2), np.uint8)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "can't be None.*returns nothing"),
        ([[0, 1]], "of type list.*call classify_many.*np.array"),
        ({"image": b"x"}, "of type dict"),
        (Foreign(), r"Foreign; .*convert it to a numpy array"),
        (3, "of type int"),
    ],
)
def test_other_values_are_rejected_with_a_hint(value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        encode(value)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", ">f4"])
def test_tensors_keep_type_shape_and_values(dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    tensor = encode(Tensor(array)).tensor
    wire = {mpb.DATA_TYPE_UINT8: "u1", mpb.DATA_TYPE_FLOAT16: "<f2", mpb.DATA_TYPE_FLOAT32: "<f4"}
    received = np.frombuffer(tensor.data, wire[tensor.dtype]).reshape(tuple(tensor.shape))
    assert np.array_equal(received, array)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(3, np.int32), [1.0]])
def test_tensors_of_other_types_are_rejected(array: Any) -> None:
    with pytest.raises(InvalidInputError, match="uint8, float16 or float32"):
        encode(Tensor(array))


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, [255]),
        ("L", 100, [100]),
        ("I;16", 257 * 100, [100]),
        ("I", 257 * 100, [100]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 4), [1, 2, 3, 4]),
        ("LA", (9, 128), [9, 9, 9, 128]),
        ("CMYK", (0, 0, 0, 0), [255, 255, 255]),
        ("HSV", (0, 0, 70), [70, 70, 70]),
    ],
)
def test_pil_images_of_any_mode_are_pixels(mode: str, color: Any, expected: list[int]) -> None:
    array = pixels(Image.new(mode, (3, 2), color))
    assert array.shape == (2, 3, len(expected))
    assert array[0, 0].tolist() == expected


def test_a_palette_keeps_its_transparency() -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert pixels(image)[0, 0].tolist() == [10, 20, 30]
    image.info["transparency"] = 1
    assert pixels(image)[0, 0].tolist() == [10, 20, 30, 0]


def test_floats_of_unknown_range_are_rejected() -> None:
    with pytest.raises(InvalidInputError, match="mode F"):
        encode(Image.new("F", (2, 2)))


def test_pil_images_are_turned_upright() -> None:
    upright = np.zeros((2, 3, 3), np.uint8)
    upright[0, 0] = 255
    sideways = Image.fromarray(np.rot90(upright).copy())
    sideways.getexif()[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    out = io.BytesIO()
    sideways.save(out, "PNG", exif=sideways.getexif())
    assert np.array_equal(pixels(Image.open(out)), upright)


def test_a_damaged_pil_image_is_invalid() -> None:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "PNG")
    image = Image.open(io.BytesIO(out.getvalue()[:-4000]))
    for _ in range(2):  # the second time, PIL would present the pixels before the damage
        with pytest.raises(InvalidInputError, match="can't be decoded"):
            encode(image)


def test_a_crafted_pil_image_is_invalid() -> None:
    """An empty iCCP chunk after the pixels makes PIL raise IndexError."""
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "PNG")
    chunk = b"\0\0\0\0iCCP" + zlib.crc32(b"iCCP").to_bytes(4, "big")
    data = out.getvalue()[:-12] + chunk + out.getvalue()[-12:]
    with pytest.raises(InvalidInputError, match="can't be decoded"):
        encode(Image.open(io.BytesIO(data)))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"there is no image '.*cat\.jpg'") as caught:
        encode(tmp_path / "cat.jpg")
    assert caught.value.__suppress_context__  # one short traceback
    with pytest.raises(InvalidInputError, match="is a directory, not an image"):
        encode(str(tmp_path))
    with pytest.raises(InvalidInputError, match="can't be read"):
        encode("a\0b")


def test_requests_over_the_limit_are_not_sent(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bytes(9 * 2**20))
    for image in (large, large.read_bytes(), Tensor(np.zeros(9 * 2**20, np.uint8))):
        with pytest.raises(InvalidInputError, match="8,388,608"):
            encode(image)
    with pytest.raises(InvalidInputError, match="the limit is 8,388,608"):
        encode(bytes(8 * 2**20))  # the image just fits, but the rest of the request doesn't


@pytest.mark.parametrize("image", [None, 3, ["cat.jpg"], object()])
def test_other_values_are_not_images(image: Any) -> None:
    with pytest.raises(InvalidInputError, match="give a path, an open file, bytes, a PIL image"):
        encode(image)
