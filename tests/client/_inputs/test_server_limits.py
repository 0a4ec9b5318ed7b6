"""Images are checked and shrunk by the limits of the server, which is asked only if it matters."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.server import ServerProcess

from convscope.client import AsyncClient, InvalidInputError, Tensor

MIB = 2**20
RED = np.full((8, 8, 3), (200, 30, 20), np.uint8)


def padded(data: bytes, size_bytes: int) -> bytes:
    """Add zeros after the end of an image, which decoders ignore."""
    return data + bytes(size_bytes - len(data))


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    """A JPEG of 20 MiB with few pixels."""
    path = tmp_path / "heavy.jpg"
    Image.fromarray(RED).resize((100, 100)).save(path, "JPEG")
    path.write_bytes(padded(path.read_bytes(), 20 * MIB))
    return path


def calls_of(server: ServerProcess, method: str) -> int:
    return sum(line.get("method") == method for line in server.log)


@pytest.mark.parametrize("oversize", ["shrink", "error"])
def test_a_server_may_accept_larger_requests(
    make_caller: Any, tiny_repository: Path, heavy: Path, oversize: str
) -> None:
    with ServerProcess(tiny_repository, "--max-request-bytes", str(32 * MIB)) as server:
        caller = make_caller(server.target, oversize=oversize)
        result = caller.classify(heavy, model="tiny")
        assert (result.top.label, result.sent_size) == ("red", None)
        (result,) = caller.classify_many([np.tile(RED, (250, 250, 1))], model="tiny")
        assert (result.top.label, result.sent_size) == ("red", None)
        heavy.write_bytes(padded(heavy.read_bytes(), 33 * MIB))
        if oversize == "error":
            with pytest.raises(InvalidInputError, match="limit of a request is 33,554,432 bytes"):
                caller.classify(heavy, model="tiny")
        else:
            assert caller.classify(heavy, model="tiny").sent_size == (100, 100)
        server.stop()
        assert calls_of(server, "GetServerInfo") == 1


def test_a_server_may_accept_only_smaller_images(make_caller: Any, tiny_repository: Path) -> None:
    flags = ("--max-request-bytes", str(MIB), "--max-image-pixels", "500000")
    with ServerProcess(tiny_repository, *flags) as server:
        caller = make_caller(server.target)
        result = caller.classify(np.tile(RED, (128, 128, 1)), model="tiny")
        assert result.top.label == "red"
        assert max(result.sent_size) < 1024
        strict = make_caller(server.target, oversize="error")
        with pytest.raises(InvalidInputError, match=r"1,048,576; give the encoded file instead"):
            strict.classify(np.tile(RED, (128, 128, 1)), model="tiny")
        with pytest.raises(InvalidInputError, match="1,048,576; check its shape"):
            strict.classify(Tensor(np.zeros(2 * MIB, np.uint8)), model="tiny")


def test_a_server_may_accept_only_few_images_of_a_request(
    make_caller: Any, tiny_repository: Path
) -> None:
    with ServerProcess(tiny_repository, "--max-inputs", "11") as server:
        caller = make_caller(server.target)
        for _ in range(2):
            assert len(list(caller.classify_many([RED] * 200, model="tiny"))) == 200
        server.stop()
        assert calls_of(server, "GetServerInfo") == 1
        assert {line["code"] for line in server.log if line.get("method") == "Classify"} == {"OK"}


def test_concurrent_calls_share_only_as_large_requests(tiny_repository: Path) -> None:
    async def main(target: str) -> None:
        async with AsyncClient(target, model="tiny") as client:
            for _ in range(2):
                results = await asyncio.gather(*(client.classify(RED) for _ in range(100)))
                assert [result.top.label for result in results] == ["red"] * 100

    with ServerProcess(tiny_repository, "--max-inputs", "11") as server:
        asyncio.run(main(server.target))
        server.stop()
        assert calls_of(server, "GetServerInfo") == 1
        codes = [line["code"] for line in server.log if line.get("method") == "Classify"]
        assert set(codes) == {"OK"}
        assert len(codes) <= 50


def test_small_images_need_no_further_call(make_caller: Any, tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository) as server:
        caller = make_caller(server.target)
        caller.classify(RED, model="tiny")
        list(caller.classify_many([RED, np.tile(RED, (60, 60, 1))], model="tiny"))
        server.stop()
        assert calls_of(server, "Classify") == 2
        assert calls_of(server, "GetServerInfo") == 0


def test_a_server_that_does_not_describe_itself_has_the_default_limits(
    make_caller: Any, scripted_server: Any
) -> None:
    target, _ = scripted_server()
    caller = make_caller(target, oversize="error")
    large = b"large".ljust(2 * MIB)
    assert len(list(caller.classify_many([large, large], model="m"))) == 2
    with pytest.raises(InvalidInputError, match="8,388,608"):
        caller.classify(bytes(9 * MIB), model="m")


@pytest.mark.timeout(60)
def test_many_large_images_at_once_leave_a_thread_for_the_token(scripted_server: Any) -> None:
    """All of them wait for the limits, whose call needs a token first."""
    target, _ = scripted_server()

    async def classify() -> int:
        async with AsyncClient(target, token=lambda: "a") as client:
            large = [b"large".ljust(2 * MIB)] * 40
            return len(await asyncio.gather(*(client.classify(one, model="m") for one in large)))

    assert asyncio.run(classify()) == 40
