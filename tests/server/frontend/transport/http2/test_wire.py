"""Headers, metadata, status and messages on the wire."""

import zlib
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from support.http2 import framed, request_headers

from convscope.server.frontend.transport.http2.heads import HeadCache
from convscope.server.frontend.transport.http2.messages import MessageReader, RawMessage, inflate
from convscope.server.frontend.transport.http2.wire import (
    BadRequestError,
    decode_metadata,
    encode_metadata,
    parse_timeout,
    percent_encode,
)

KNOWN = "/test.Service/known"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2H", 7200.0),
        (b"3M", 180.0),
        (b"5S", 5.0),
        (b"250m", 0.25),
        (b"7u", 7e-6),
        (b"9n", 9e-9),
        (b"0S", 0.0),
        (b"99999999H", 99999999 * 3600.0),
    ],
)
def test_timeouts(value: bytes, seconds: float) -> None:
    assert parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"5", b"5s", b"-5S", b"1.5S", b"123456789S", b" 5S"])
def test_timeouts_of_another_form(value: bytes) -> None:
    with pytest.raises(BadRequestError, match="at most 8 digits"):
        parse_timeout(value)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("plain text, with punctuation!", b"plain text, with punctuation!"),
        ("100 %", b"100 %25"),
        ("a\nb", b"a%0Ab"),
        ("Größe", b"Gr%C3%B6%C3%9Fe"),
        ("~ and \x7f", b"~ and %7F"),
    ],
)
def test_percent_encoding(text: str, encoded: bytes) -> None:
    assert percent_encode(text) == encoded


def test_long_details_leave_room_for_the_other_trailers() -> None:
    assert len(percent_encode("x" * 100_000)) < 8192


@pytest.mark.parametrize("start", ["", "a", "ab", "abc", "abcd", "abcde"])
@pytest.mark.parametrize("character", ["é", "€", "😀", "%"])
def test_long_details_end_with_a_whole_character(start: str, character: str) -> None:
    encoded = percent_encode(start + character * 6000)
    assert 6100 < len(encoded) <= 6 * 1024
    text = unquote(encoded.decode(), errors="strict")
    assert text == (start + character * 6000)[: len(text)]


def test_metadata_without_what_belongs_to_the_protocol() -> None:
    headers = request_headers(
        "known", (b"grpc-timeout", b"1S"), (b"user-agent", b"me"), (b"k", b"v")
    )
    assert decode_metadata(headers) == (("user-agent", "me"), ("k", "v"))


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        (b"AAE=", [b"\0\1"]),
        (b"AAE", [b"\0\1"]),
        (b"AAE,/w==,", [b"\0\1", b"\xff", b""]),
        (b"", [b""]),
    ],
)
def test_binary_metadata(value: bytes, decoded: list[bytes]) -> None:
    assert decode_metadata([(b"k-bin", value)]) == tuple(("k-bin", one) for one in decoded)


@pytest.mark.parametrize("value", [b"A", b"A*==", b"\xff"])
def test_binary_metadata_that_is_not_base64(value: bytes) -> None:
    with pytest.raises(BadRequestError, match="k-bin is not base64"):
        decode_metadata([(b"k-bin", value)])


def test_metadata_of_a_response() -> None:
    sent = encode_metadata((("k", "v"), ("k-bin", b"\0\1")))
    assert sent == [(b"k", b"v"), (b"k-bin", b"AAE")]


@pytest.mark.parametrize("pair", [("K", "v"), ("a b", "v"), ("", "v"), ("k", "a\nb"), ("k", "ö")])
def test_metadata_that_cannot_be_sent(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        encode_metadata((pair,))


# Header blocks


def heads(max_bytes: int = 16384) -> HeadCache:
    return HeadCache(lambda path: "method" if path == KNOWN else None, max_bytes)


def test_a_head() -> None:
    fields = ((b"grpc-timeout", b"5S"), (b"grpc-encoding", b"gzip"), (b"k", b"v"))
    head = heads()(tuple(request_headers("known", *fields)))
    assert (head.method, head.timeout, head.encoding) == ("method", 5.0, "gzip")
    assert head.metadata == (("k", "v"),)


@pytest.mark.parametrize(
    ("path", "more", "code"),
    [
        ("unknown", (), grpc.StatusCode.UNIMPLEMENTED),
        ("known", ((b"grpc-timeout", b"soon"),), grpc.StatusCode.INTERNAL),
        ("known", ((b"grpc-encoding", b"br"),), grpc.StatusCode.UNIMPLEMENTED),
        ("known", ((b"k-bin", b"*"),), grpc.StatusCode.INTERNAL),
        ("known", ((b"k", b"v" * 16384),), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_heads_that_end_the_call(path: str, more: Any, code: grpc.StatusCode) -> None:
    head = heads()(tuple(request_headers(path, *more)))
    assert head.error is not None
    assert (head.error.code, bool(head.error.details)) == (code, True)


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        (b":method", b"GET", b"405"),
        (b"content-type", b"application/json", b"415"),
        (b"content-type", b"application/grpc-web", b"415"),
    ],
)
def test_heads_of_other_protocols(field: bytes, value: bytes, status: bytes) -> None:
    headers = {**dict(request_headers("known")), field: value}
    assert heads()(tuple(headers.items())).http_error == status


def test_heads_are_cached_within_a_bound() -> None:
    cache = heads()
    for index in range(10_000):
        headers = tuple(request_headers("known", (b"request-id", b"%d" % index)))
        assert cache(headers) is cache(headers)
    assert len(cache) < 2_000


# Messages


def read(data: bytes, step: int, **options: Any) -> list[RawMessage]:
    reader = MessageReader(**{"max_bytes": 100, "encoding": None, **options})
    chunks = [data[start : start + step] for start in range(0, len(data), step)]
    return [message for chunk in chunks for message in reader.feed(chunk)]


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 7, 50, 1000])
def test_messages_in_chunks_of_any_size(step: int) -> None:
    sent = [b"", b"a", b"bc" * 30, b"", b"d" * 100]
    data = b"".join(map(framed, sent))
    assert read(data, step) == [(False, message) for message in sent]


@pytest.mark.parametrize("step", [5, 1000])
def test_a_message_above_the_limit_ends_at_its_prefix(step: int) -> None:
    with pytest.raises(BadRequestError, match=r"larger than max \(101 vs. 100\)") as caught:
        read(framed(bytes(101))[:5], step)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(("flag", "encoding"), [(1, None), (2, "gzip"), (255, None)])
def test_wrong_flags_of_a_message(flag: int, encoding: str | None) -> None:
    with pytest.raises(BadRequestError, match="marked as compressed"):
        read(framed(b"x", flag), 10, encoding=encoding)


def deflated(data: bytes, bits: int) -> bytes:
    compressor = zlib.compressobj(wbits=bits)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15)])
def test_inflating_is_bounded(encoding: str, bits: int) -> None:
    assert inflate(deflated(bytes(1000), bits), encoding, 1000) == bytes(1000)
    with pytest.raises(BadRequestError, match="larger than max"):
        inflate(deflated(bytes(1001), bits), encoding, 1000)


@pytest.mark.parametrize(
    "change", [lambda d: b"", lambda d: d[:-3], lambda d: d + b"x", lambda d: b"x"]
)
def test_damaged_compression(change: Any) -> None:
    with pytest.raises(BadRequestError, match="not compressed as") as caught:
        inflate(change(deflated(b"data", 31)), "gzip", 1000)
    assert caught.value.code is grpc.StatusCode.INTERNAL
