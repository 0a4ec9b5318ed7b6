"""Processes that decode WebP: they are stopped, killed, and replaced."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.images import encode, picture

from convscope.server.errors import OverloadedError
from convscope.server.inference.decoding.webp import isolated
from convscope.server.inference.decoding.webp.isolated import IsolatedDecoder
from convscope.server.inference.decoding.webp.libwebp import OK, Layout

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SIZE = Layout(120, 80)
MOST_BYTES = 32 * 2**20
PICTURE = picture()


@pytest.fixture
def decoder() -> Iterator[IsolatedDecoder]:
    webp = pytest.importorskip("PIL._webp")
    decoder = IsolatedDecoder(webp.__file__)
    yield decoder
    decoder.close()


def decode(decoder: IsolatedDecoder) -> None:
    data = memoryview(encode(PICTURE, "WEBP", lossless=True))[12:]
    status, shared = decoder.decode(data, SIZE, MOST_BYTES)
    assert status == OK
    pixels = np.frombuffer(shared, np.uint8, offset=data.nbytes).reshape(80, 120, 4)
    assert (pixels[:, :, :3] == np.asarray(PICTURE)).all()


def children() -> set[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(map(int, text.split()))


def test_killed_process_is_replaced(decoder: IsolatedDecoder) -> None:
    before = children()
    decode(decoder)
    (first,) = children() - before
    os.kill(first, signal.SIGKILL)
    decode(decoder)
    (second,) = children() - before
    assert second != first


def test_image_is_not_blamed_for_a_process_that_does_not_answer(
    decoder: IsolatedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    monkeypatch.setattr(isolated, "_TIMEOUT_SECONDS", 1.0)
    start = isolated._Process.__init__

    def start_stopped(process: isolated._Process, extension: str) -> None:
        start(process, extension)
        process._process.send_signal(signal.SIGSTOP)

    monkeypatch.setattr(isolated._Process, "__init__", start_stopped)
    with pytest.raises(OverloadedError):
        decode(decoder)
    assert children() == before
