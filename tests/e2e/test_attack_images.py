"""Images that are cheap to send, sent to a real server that keeps answering others."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from support.attack_images import ATTACKS
from support.server import FRESH, ServerProcess
from support.tiny import SIDE

from convscope.client import Client, InvalidInputError

GRAY = np.full((SIDE, SIDE, 3), 128, np.uint8)
ACCEPTED = (
    "JPEG, 2 MB of Exif segments",
    "PNG, text bombs",
    "WebP, animation of 16 megapixels",
    "WebP, lossless of 9 megapixels",
)
REJECTED = {
    "JPEG, 1 MB of small Exif segments": "more than 96 segments before its pixels",
    "JPEG, 65 scans": "more than 64 scans; save it as baseline JPEG",
    "PNG, empty stored blocks": "bytes of compressed pixels",
    "WebP, 65,536 groups of codes": "more than 28 MiB beyond its pixels; save it as PNG or JPEG",
    "GIF, extensions": "blocks before its first frame",
    "BMP, empty lines": "16,000,000 pixels and 17,080 bytes with run-length encoding",
}


@pytest.fixture(scope="module")
def client(tiny_server: ServerProcess) -> Iterator[Client]:
    with Client(tiny_server.target, timeout_seconds=60) as client:
        yield client


@pytest.mark.parametrize("name", ACCEPTED)
def test_image_with_much_that_is_no_pixels_is_classified(client: Client, name: str) -> None:
    assert client.classify(ATTACKS[name](), model="tiny").classes


@pytest.mark.parametrize("name", REJECTED)
def test_rejection_names_the_reason(client: Client, name: str) -> None:
    with pytest.raises(InvalidInputError, match=REJECTED[name]):
        client.classify(ATTACKS[name](), model="tiny")


def test_others_are_answered_next_to_attacks(client: Client) -> None:
    attacks = [ATTACKS[name]() for name in (*ACCEPTED, *REJECTED)]

    def attack(data: bytes) -> None:
        with suppress(InvalidInputError):
            client.classify(data, model="tiny")

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(attack, data) for data in attacks]
        while not all(future.done() for future in running):
            assert client.classify(GRAY, model="tiny").classes
            time.sleep(0.01)
        for future in running:
            future.result()


def test_process_that_decodes_lossless_webp_ends_with_its_server(tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository, command=FRESH) as server, Client(server.target) as client:
        assert client.classify(ATTACKS["WebP, lossless noise"](), model="tiny").classes
        decoders = [pid for pid in children(server.process.pid) if "webp" in command_of(pid)]
        assert len(decoders) == 1
        server.stop()
        wait_until(lambda: "webp" not in command_of(decoders[0]))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(number) for file in files for number in file.read_text().split()]


def command_of(pid: int) -> str:
    """Return the command of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
