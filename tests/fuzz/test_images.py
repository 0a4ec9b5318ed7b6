"""Mutated images of every format: each is answered, at a bounded cost."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from support.calls import connected, image_request
from support.fuzz.images import ImageMutants
from support.fuzz.runs import SECONDS, Input, groups, reported
from support.fuzz.server import Outcomes, Usage
from support.server import ServerProcess

COUNT = 1500
CALLS_AT_ONCE = 2
# The images of one call are answered one by one, and cost less than a call each.
IMAGES_OF_A_CALL = 12
MAX_CALL_BYTES = 14_000_000
CALL_SECONDS = 60.0
IMAGE_SECONDS = 2.0
IMAGE_MIB = 96

Image = tuple[Input, bytes]


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

        def classify(images: Sequence[Image]) -> float:
            """Classify images at once; return the server's CPU time."""
            started = usage.cpu_seconds()
            requests = list(divided(images))
            calls = [
                stub.Classify.future(
                    image_request(*(image for _, image in request)), timeout=CALL_SECONDS
                )
                for request in requests
            ]
            for request, call in zip(requests, calls, strict=True):
                with reported(request[-1][0]):
                    error = call.exception()
                    assert error is None or isinstance(error, grpc.RpcError)
                    if error is not None:
                        assert len(request) == 1
                        outcomes.add(error)
                        continue
                for (one, _), result in zip(request, call.result().results, strict=True):
                    with reported(one):
                        outcomes.add_result(result)
            return usage.cpu_seconds() - started

        for group in groups(COUNT, CALLS_AT_ONCE * IMAGES_OF_A_CALL):
            images = [(one, mutants(one.random)) for one in group]
            seconds = classify(images)
            if seconds > IMAGE_SECONDS:  # of several: the limit holds for each
                seconds = max(classify([image]) for image in images)
            most_seconds = max(most_seconds, seconds)
            most_memory = max(most_memory, usage.memory_mib() - before)
            with reported(group[-1]):
                assert most_seconds < IMAGE_SECONDS
                assert (
                    most_memory < IMAGE_MIB * 4
                )  # those that are decoded at once, and their requests
    usage.check()
    print(f"images: {outcomes}; {most_seconds:.2f} s and {most_memory:.0f} MiB at most")
    assert outcomes.codes["OK"] > outcomes.codes.total() / 20
    assert outcomes.codes["INVALID_ARGUMENT"] > outcomes.codes.total() / 20


def divided(images: Sequence[Image]) -> Iterator[Sequence[Image]]:
    """Return the images of each call."""
    call: list[Image] = []
    for image in images:
        size = sum(len(data) for _, data in (*call, image))
        if call and (len(call) == IMAGES_OF_A_CALL or size > MAX_CALL_BYTES):
            yield call
            call = []
        call.append(image)
    if call:
        yield call
