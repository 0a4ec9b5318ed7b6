"""Mistakes of a user of the SDK: each error has a code, the wrong value and the fix."""

import io
import socket
import struct
import zlib
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
from PIL import Image
from support.server import ServerProcess

from convscope.client import (
    AsyncClient,
    Client,
    ConvscopeError,
    DeadlineExceededError,
    FeatureMapSelection,
    ImageLike,
    InvalidInputError,
    NotFoundError,
    Tensor,
    UnavailableError,
)
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

GRAY = np.full((20, 20, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def client(tiny_server: ServerProcess) -> Iterator[Client]:
    with Client(tiny_server.target) as client:
        yield client


@pytest.fixture(autouse=True)
def serves_on(client: Client) -> Iterator[None]:
    """After every test of this module the server must still work."""
    yield
    assert client.classify(GRAY, model="tiny").classes


def truncated_jpeg() -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()[: out.tell() // 2]


def huge_png() -> bytes:
    """Make a PNG of 20,000 × 20,000 one-bit pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    side = 20_000
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side // 8 + 1) * side, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def classify(image: object = GRAY, **options: object) -> Callable[[Client], object]:
    options.setdefault("model", "tiny")
    return lambda client: client.classify(image, **options)  # type: ignore[arg-type]


TABLE: dict[str, tuple[Callable[[Client], object], type[ConvscopeError], str]] = {
    "text": (classify(b"hello, world"), InvalidInputError, r"JPEG, PNG, WebP, BMP or GIF"),
    "truncated JPEG": (classify(truncated_jpeg()), InvalidInputError, r"truncated"),
    "too many pixels to shrink": (
        classify(huge_png()),
        InvalidInputError,
        r"image can't be read: it has more than 178,956,970 pixels",
    ),
    "no bytes": (classify(b""), InvalidInputError, r"empty"),
    "unknown model": (classify(model="tinny"), NotFoundError, r"'tinny'.*\btiny\b"),
    "unknown version": (classify(version=9), NotFoundError, r"\b9\b.*\b1\b"),
    "unknown alias": (classify(alias="champ"), NotFoundError, r"'champ'"),
    "unknown feature map": (
        classify(feature_maps=["layer9"]),
        InvalidInputError,
        r"no feature map 'layer9' in tiny v1; it has: conv",
    ),
    "channel": (
        classify(feature_maps=[FeatureMapSelection("conv", channels=[99])]),
        InvalidInputError,
        r"99.*conv.*0 to 3",
    ),
    "top-k of -1": (classify(top_k=-1), InvalidInputError, r"-1.*must be 1 or more"),
    "probability": (classify(min_probability=1.5), InvalidInputError, r"1\.5.*between 0 and 1"),
    "wrong dtype": (
        classify(Tensor(np.zeros((16, 16, 3), np.float32))),
        InvalidInputError,
        r"float32.*uint8",
    ),
    "wrong shape": (
        classify(Tensor(np.zeros((16, 17, 3), np.uint8))),
        InvalidInputError,
        r"16.*17.*3.*16.*16.*3",
    ),
    "signal of wrong length": (
        classify(Tensor(np.zeros((1, 31), np.float32)), model="signal"),
        InvalidInputError,
        r"31.*32",
    ),
    "image for a signal model": (classify(model="signal"), InvalidInputError, r"tensor"),
    "float pixels": (classify(np.zeros((9, 9, 3))), InvalidInputError, r"float64.*from_float"),
    "missing file": (classify("no/such/file.jpg"), InvalidInputError, r"no/such/file\.jpg"),
    "too many bytes without an image": (
        classify(bytes(9 << 20)),
        InvalidInputError,
        r"image can't be read: it is damaged, or of an unknown format$",
    ),
}


@pytest.mark.parametrize(("call", "kind", "said"), TABLE.values(), ids=TABLE.keys())
def test_each_mistake_has_its_error(
    client: Client, call: Callable[[Client], object], kind: type[ConvscopeError], said: str
) -> None:
    with pytest.raises(kind, match=rf"(?s){said}") as raised:
        call(client)
    assert raised.value.code is kind.default_code


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (huge_png(), r"20,?000.*20,?000.*8,?192"),
        (bytes(9 << 20), r"9,437,184 .*8,388,608 .*JPEG"),
    ],
    ids=["pixels", "bytes"],
)
def test_a_limit_is_an_error_for_a_client_that_does_not_shrink(
    tiny_server: ServerProcess, image: bytes, said: str
) -> None:
    client = Client(tiny_server.target, oversize="error")
    with client, pytest.raises(InvalidInputError, match=said):
        client.classify(image, model="tiny")


def test_top_k_of_ten_thousand_gives_every_class(client: Client) -> None:
    result = client.classify(GRAY, model="tiny", top_k=10_000)
    assert sorted(c.label for c in result.classes) == ["blue", "green", "red"]


def test_a_deadline_that_has_passed_fails_at_once(client: Client) -> None:
    # A small image can be answered within a millisecond, to which gRPC rounds the deadline.
    large = np.full((1500, 1500, 3), 128, np.uint8)
    # The client or the server notices first, and says so in its own words.
    noticed = "within 1e-06 s|had passed on arrival|passed while the input waited"
    with pytest.raises(DeadlineExceededError, match=noticed):
        client.classify(large, model="tiny", timeout_seconds=1e-6)


def test_the_error_names_an_unreachable_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound without listening
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        with Client(target) as client, pytest.raises(UnavailableError, match=target):
            client.classify(GRAY, model="tiny")


async def test_the_async_client_raises_the_same_error(tiny_server: ServerProcess) -> None:
    async with AsyncClient(tiny_server.target) as client:
        with pytest.raises(NotFoundError, match="'tinny'"):
            await client.classify(GRAY, model="tinny")


def test_an_empty_request_is_rejected(tiny_server: ServerProcess) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.Classify(pb.ClassifyRequest(model="tiny"), timeout=5)
    error: grpc.Call = raised.value  # type: ignore[assignment]
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "input" in (error.details() or "")


def test_one_bad_image_does_not_affect_the_others(client: Client) -> None:
    images: list[ImageLike] = [GRAY, b"not an image", GRAY]
    first, second, third = client.classify_many(images, model="tiny", return_errors=True)
    assert isinstance(second, InvalidInputError)
    assert not isinstance(first, ConvscopeError)
    assert not isinstance(third, ConvscopeError)
