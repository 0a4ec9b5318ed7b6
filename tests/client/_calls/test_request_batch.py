"""The outcomes and the retries of a request, and the order of many, without any I/O."""

from typing import Any

import pytest

from convscope.client import ConvscopeError, InvalidInputError, OverloadedError, UnavailableError
from convscope.client._calls.batch_size import BatchSize
from convscope.client._calls.image_encoder import ImageEncoder
from convscope.client._calls.image_stream import ImageStream
from convscope.client._calls.request_batch import RequestBatch
from convscope.client._calls.requests import encode_image, encode_template
from convscope.v1 import inference_pb2 as pb

TEMPLATE = encode_template("m", priority="bulk")


def batch_of(*images: bytes | ConvscopeError) -> RequestBatch:
    items = [encode_image(TEMPLATE, i) if isinstance(i, bytes) else i for i in images]
    return RequestBatch(TEMPLATE, items, BatchSize(8, 8))


def reply(request: pb.ClassifyRequest, busy: tuple[bytes, ...] = ()) -> pb.ClassifyResponse:
    """Classify each image as its own bytes, except the busy ones."""
    response = pb.ClassifyResponse(model="m", version=1)
    for image in request.inputs:
        if image.encoded_image in busy:
            response.results.add().error.MergeFrom(pb.ClassifyError(code=8, message="busy"))
        else:
            response.results.add().prediction.classes.add(label=image.encoded_image.decode())
    return response


def shown(batch: RequestBatch) -> list[Any]:
    return [o if isinstance(o, ConvscopeError) else o.top.label for o in batch.outcomes]


def test_errors_keep_their_places() -> None:
    unreadable = InvalidInputError("no file")
    batch = batch_of(b"a", unreadable, b"b")
    assert [image.encoded_image for image in batch.request().inputs] == [b"a", b"b"]
    batch.succeed(reply(batch.request()))
    assert shown(batch) == ["a", unreadable, "b"]
    assert batch.retries == []


def test_a_batch_of_errors_is_not_sent() -> None:
    error = InvalidInputError("no file")
    assert batch_of(error).is_empty
    assert batch_of(error).outcomes == [error]
    assert not batch_of(error, b"a").is_empty


def test_images_that_the_server_shed_are_retried_once() -> None:
    batch = batch_of(b"a", InvalidInputError("no file"), b"b", b"c")
    batch.succeed(reply(batch.request(), busy=(b"b", b"c")))
    (retry,) = batch.retries
    assert batch.pause_seconds > 0
    assert [image.encoded_image for image in retry.request().inputs] == [b"b", b"c"]
    retry.succeed(reply(retry.request(), busy=(b"c",)))
    assert retry.retries == []
    batch.merge_retries()
    assert (shown(batch)[0], shown(batch)[2]) == ("a", "b")
    assert isinstance(batch.outcomes[3], OverloadedError)


@pytest.mark.parametrize("error", [OverloadedError("full"), UnavailableError("draining")])
def test_a_whole_request_is_retried_by_the_channel_only(error: ConvscopeError) -> None:
    batch = batch_of(b"a", b"b")
    batch.fail(error)
    assert batch.retries == []
    assert [str(outcome) for outcome in batch.outcomes] == [error.message] * 2
    assert batch.outcomes[0] is not batch.outcomes[1]  # each caller raises its own


def test_images_that_are_invalid_together_are_sent_one_by_one() -> None:
    batch = batch_of(b"a", b"b", b"c")
    batch.fail(InvalidInputError("too many inputs"))
    assert batch.pause_seconds == 0
    assert len(batch.retries) == 3
    for retry in batch.retries:
        if retry is batch.retries[1]:
            retry.fail(InvalidInputError("not an image"))
        else:
            retry.succeed(reply(retry.request()))
        assert retry.retries == []
    batch.merge_retries()
    assert shown(batch)[::2] == ["a", "c"]
    assert str(batch.outcomes[1]) == "not an image"


def stream(*, window: int = 2, return_errors: bool = False) -> ImageStream:
    def ask(*_: object) -> Any:
        pytest.fail("it asks the server")

    encoder = ImageEncoder("error", ask, ask)
    return ImageStream(TEMPLATE, [], window=window, return_errors=return_errors, encoder=encoder)


def test_a_stream_sends_full_batches_and_then_the_rest() -> None:
    images = stream()
    sent = [batch for i in range(6) for batch in images.add(images.encode(b"%d" % i), 0.0)]
    assert [len(batch.request().inputs) for batch in sent] == [4]
    assert not images.is_window_full
    sent += images.flush()
    assert images.is_window_full
    labels = []
    for batch in sent:
        batch.succeed(reply(batch.request()))
        labels += [outcome.top.label for outcome in images.outcomes(batch)]
    assert labels == [str(i) for i in range(6)]
    assert not images.is_window_full


@pytest.mark.parametrize("return_errors", [True, False])
def test_a_stream_ends_with_its_first_error_unless_errors_are_returned(
    return_errors: bool,
) -> None:
    images = stream(return_errors=return_errors)
    images.add(images.encode(b"a"), 0.0)
    assert not images.has_ended
    images.add(images.encode("missing.png"), 0.0)
    assert images.has_ended is not return_errors
    (batch,) = images.flush()
    batch.succeed(reply(batch.request()))
    outcomes = images.outcomes(batch)
    assert next(outcomes).top.label == "a"  # type: ignore[union-attr]
    if return_errors:
        assert "missing.png" in str(next(outcomes))
    else:
        with pytest.raises(InvalidInputError, match=r"missing\.png"):
            next(outcomes)
