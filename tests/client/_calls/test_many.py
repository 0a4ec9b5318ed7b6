"""Many images: they share requests, and none is lost."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from support.server import ServerProcess

from convscope.client import Client, Explain, InvalidInputError, OverloadedError, Tensor
from convscope.v1 import inference_pb2 as pb

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


def texts(count: int) -> list[str]:
    return [f"image {index}" for index in range(count)]


def encoded(names: list[str]) -> Iterator[bytes]:
    return (name.encode() for name in names)


def label(outcome: Any) -> str:
    text: str = outcome.top.label
    return text


def test_quick_images_share_requests(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server()
    results = make_caller(target).classify_many(encoded(texts(600)), model="m", window=2)
    assert list(map(label, results)) == texts(600)
    assert sum(servicer.sizes()) == 600
    assert len(servicer.sizes()) < 60
    assert max(servicer.sizes()) <= 64


def test_slow_images_have_their_own_requests(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.infer_seconds = 1.0
    results = make_caller(target).classify_many(encoded(texts(60)), model="m", window=2)
    assert list(map(label, results)) == texts(60)
    assert servicer.sizes()[-10:] == [1] * 10


def test_an_image_does_not_wait_for_later_ones(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server()

    def camera() -> Iterator[bytes]:
        for name in texts(6):
            time.sleep(0.05)
            yield name.encode()

    results = make_caller(target).classify_many(camera(), model="m")
    assert list(map(label, results)) == texts(6)
    assert servicer.sizes() == [1] * 6


def test_large_images_fill_requests_by_their_bytes(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server()
    large = [str(index) * 2**21 for index in range(5)]
    results = make_caller(target).classify_many([text.encode() for text in large], model="m")
    assert list(map(label, results)) == large
    assert servicer.sizes() == [1] * 5


def test_occlusion_of_many_images_never_fills_the_queue(
    make_caller: Any, explained_server: ServerProcess
) -> None:
    """Each image is fifty runs of the network, and the queue of bulk requests has room for 256."""
    images = [Tensor(np.full((16, 16, 3), shade, np.uint8)) for shade in range(60)]
    outcomes = list(
        make_caller(explained_server.target).classify_many(
            images,
            model="tiny",
            explain=[Explain(method="occlusion")],
            priority="bulk",
            return_errors=True,
        )
    )
    assert [len(getattr(outcome, "explanations", ())) for outcome in outcomes] == [1] * 60


@pytest.mark.parametrize("count", [1, 7, 64])
def test_every_image_gets_its_own_outcome(
    make_caller: Any, tiny_server: ServerProcess, tmp_path: Path, count: int
) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    kinds = [Tensor(red), b"no image", tmp_path / "missing.png", red, Tensor(red[:4])]
    images = kinds * count
    outcomes = list(
        make_caller(tiny_server.target).classify_many(images, model="tiny", return_errors=True)
    )
    assert len(outcomes) == len(images)
    for first in range(0, len(outcomes), len(kinds)):
        ready, damaged, missing, pixels, wrong = outcomes[first : first + len(kinds)]
        assert (ready.top.label, pixels.top.label) == ("red", "red")
        messages = [str(error) for error in (damaged, missing, wrong)]
        assert all(isinstance(e, InvalidInputError) for e in (damaged, missing, wrong))
        assert "not an image" in messages[0]
        assert "missing.png" in messages[1]
        assert "this model takes uint8 [16, 16, 3]" in messages[2]


def test_the_first_error_in_order_is_raised(make_caller: Any, scripted_server: Any) -> None:
    target, _ = scripted_server()
    images = [b"a", b"bad 1", b"b", "missing.png"]
    results = make_caller(target).classify_many(images, model="m")
    assert next(results).top.label == "a"
    with pytest.raises(InvalidInputError, match="no image: bad 1"):
        next(results)


def test_a_bulk_request_is_tried_three_times(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server(FULL, FULL)
    results = make_caller(target).classify_many(encoded(texts(4)), model="m", window=1)
    assert list(map(label, results)) == texts(4)
    assert max(servicer.attempts_by_request.values()) == 3


def test_no_bulk_request_is_tried_more_than_three_times(
    make_caller: Any, scripted_server: Any
) -> None:
    target, servicer = scripted_server(*[FULL] * 20)
    results = make_caller(target).classify_many(
        encoded(texts(4)), model="m", window=1, return_errors=True
    )
    assert all(isinstance(outcome, OverloadedError) for outcome in results)
    assert max(servicer.attempts_by_request.values()) == 3


def test_an_input_that_was_shed_is_retried(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.busy = {"image 1", "image 2", "image 9"}
    results = make_caller(target).classify_many(encoded(texts(12)), model="m")
    assert list(map(label, results)) == texts(12)


def test_images_that_are_rejected_together_are_sent_one_by_one(
    make_caller: Any, scripted_server: Any
) -> None:
    target, servicer = scripted_server()
    servicer.max_inputs = 3
    results = make_caller(target).classify_many(encoded(texts(40)), model="m")
    assert list(map(label, results)) == texts(40)
    assert 2 in servicer.sizes()  # the client learned the server's limit


def test_large_results_limit_the_size_of_requests(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server()
    servicer.feature_map_bytes = 2**20
    results = make_caller(target).classify_many(
        encoded(texts(60)), model="m", feature_maps=["map"], window=2
    )
    assert list(map(label, results)) == texts(60)
    assert 1 < max(servicer.sizes()) < 8


@pytest.mark.parametrize(
    ("options", "one", "many"),
    [
        ({}, pb.PRIORITY_INTERACTIVE, pb.PRIORITY_BULK),
        ({"priority": "bulk"}, pb.PRIORITY_BULK, pb.PRIORITY_BULK),
        ({"priority": "interactive"}, pb.PRIORITY_INTERACTIVE, pb.PRIORITY_INTERACTIVE),
    ],
)
def test_many_images_have_a_lower_priority_than_one(
    make_caller: Any, scripted_server: Any, options: dict[str, Any], one: int, many: int
) -> None:
    target, servicer = scripted_server()
    caller = make_caller(target)
    caller.classify(b"x", model="m", **options)
    list(caller.classify_many([b"y"], model="m", **options))
    assert [request.priority for request in servicer.requests] == [one, many]


def test_progress_is_shown_on_the_error_output(
    make_caller: Any, scripted_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    target, _ = scripted_server()
    caller = make_caller(target)
    images = [name.encode() for name in texts(12)]
    assert len(list(caller.classify_many(images, model="m"))) == 12
    assert capsys.readouterr().err == ""
    assert len(list(caller.classify_many(images, model="m", progress=True))) == 12
    out, err = capsys.readouterr()
    assert out == ""
    assert "Classifying" in err
    assert "12/12" in err
    assert len(list(caller.classify_many(iter(images), model="m", progress=True))) == 12
    assert "12/" in capsys.readouterr().err


def test_progress_ends_with_the_work(
    make_caller: Any, scripted_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    target, _ = scripted_server()
    results = make_caller(target).classify_many([b"a", b"b", b"c"], model="m", progress=True)
    assert next(results).top.label == "a"
    results.close()
    assert "1/3" in capsys.readouterr().err


def test_an_error_of_the_iterable_is_raised(scripted_server: Any) -> None:
    target, _ = scripted_server()

    def images() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("the camera is gone")

    with Client(target) as client, pytest.raises(LookupError, match="the camera is gone"):
        list(client.classify_many(images(), model="m"))
