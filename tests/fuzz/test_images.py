"""Mutated images of every format: each is answered, at a bounded cost."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.calls import connected, image_request
from support.fuzz.images import ImageMutants
from support.fuzz.runs import SECONDS, Input, groups, reported
from support.fuzz.server import Outcomes, Usage
from support.server import ServerProcess

COUNT = 1000
CALLS_AT_ONCE = 4
CALL_SECONDS = 60.0
IMAGE_SECONDS = 2.0
IMAGE_MIB = 96


@pytest.fixture
def server(tiny_repository: Path) -> Iterator[ServerProcess]:
    """A server of its own: its memory and CPU time are compared."""
    with ServerProcess(tiny_repository) as server:
        yield server


@pytest.mark.timeout(300 + SECONDS)
@pytest.mark.slow(seconds=15)
@pytest.mark.one_transport("images are decoded behind the transports")
def test_mutated_images(server: ServerProcess) -> None:
    outcomes, usage, mutants = Outcomes(), Usage(server), ImageMutants()
    usage.check()
    before, most_seconds, most_memory = usage.memory_mib(), 0.0, 0.0
    with connected(server) as stub:

        def classify(images: list[tuple[Input, bytes]]) -> float:
            """Classify images at once; return the server's CPU time."""
            started = usage.cpu_seconds()
            calls = [
                stub.Classify.future(image_request(image), timeout=CALL_SECONDS)
                for _, image in images
            ]
            for (one, _), call in zip(images, calls, strict=True):
                with reported(one):
                    error = call.exception()
                    assert error is None or isinstance(error, grpc.RpcError)
                    outcomes.add(error)
            return usage.cpu_seconds() - started

        for group in groups(COUNT, CALLS_AT_ONCE):
            images = [(one, mutants(one.random)) for one in group]
            seconds = classify(images)
            if seconds > IMAGE_SECONDS:  # of several: the limit holds for each
                seconds = max(classify([image]) for image in images)
            most_seconds = max(most_seconds, seconds)
            most_memory = max(most_memory, usage.memory_mib() - before)
            with reported(group[-1]):
                assert most_seconds < IMAGE_SECONDS
                assert most_memory < IMAGE_MIB * CALLS_AT_ONCE
    usage.check()
    print(f"images: {outcomes}; {most_seconds:.2f} s and {most_memory:.0f} MiB at most")
    assert outcomes.codes["OK"] > outcomes.codes.total() / 20
    assert outcomes.codes["INVALID_ARGUMENT"] > outcomes.codes.total() / 20
