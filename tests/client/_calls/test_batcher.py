"""Which images share a request, and when: the batcher without any I/O or clock."""

import pytest

from convscope.client import InvalidInputError, OverloadedError
from convscope.client._calls.batch_size import BatchSize
from convscope.client._calls.batcher import LINGER_SECONDS, MAX_BATCH_BYTES, Batcher

SOON = LINGER_SECONDS / 2
LATER = 2 * LINGER_SECONDS


def batcher(images: int = 4, **options: float) -> Batcher[str]:
    return Batcher(BatchSize(images, images), **options)  # type: ignore[arg-type]


def add(batcher: Batcher[str], items: str, size_bytes: int = 1, deadline: float = 0.0) -> None:
    for item in items:
        batcher.add(item, size_bytes, deadline)


def joined(batches: list[list[str]]) -> list[str]:
    return ["".join(batch) for batch in batches]


def test_images_linger_until_a_batch_is_full() -> None:
    waiting = batcher()
    add(waiting, "abc")
    assert waiting.ready(SOON) == []
    add(waiting, "def")
    assert joined(waiting.ready(SOON)) == ["abcd"]
    assert waiting.has_waiting
    assert joined(waiting.flush()) == ["ef"]
    assert not waiting.has_waiting


def test_images_linger_only_so_long() -> None:
    waiting = batcher()
    add(waiting, "a")
    assert waiting.wait_seconds(SOON) == LINGER_SECONDS - SOON
    assert joined(waiting.ready(LATER)) == ["a"]
    add(waiting, "b")
    assert waiting.ready(LATER + SOON) == []  # the time counts from the last batch
    waiting.restart_linger(2 * LATER)
    assert waiting.ready(2 * LATER + SOON) == []
    assert joined(waiting.ready(3 * LATER)) == ["b"]


def test_an_image_after_a_long_wait_does_not_linger() -> None:
    waiting = batcher()
    waiting.restart_linger(0.0)
    add(waiting, "a")
    assert joined(waiting.ready(LATER)) == ["a"]


def test_an_empty_batcher_is_never_ready() -> None:
    waiting = batcher(free_batches=2)
    assert waiting.wait_seconds(LATER) is None
    assert waiting.ready(LATER) == []
    assert waiting.flush() == []
    assert waiting.is_idle


def test_images_leave_at_once_while_few_batches_are_in_flight() -> None:
    waiting = batcher(free_batches=2)
    for item in "ab":
        add(waiting, item)
        assert waiting.wait_seconds(0.0) == 0
        assert joined(waiting.ready(0.0)) == [item]
    add(waiting, "c")
    assert waiting.ready(SOON) == []
    waiting.completed()
    assert joined(waiting.ready(SOON)) == ["c"]
    assert (waiting.in_flight, waiting.is_idle) == (2, False)
    waiting.completed()
    waiting.completed()
    assert waiting.is_idle


def test_all_that_may_leave_at_once_leaves_in_full_batches() -> None:
    waiting = batcher(free_batches=1)
    add(waiting, "abcdefghij")
    assert joined(waiting.ready(0.0)) == ["abcd", "efgh", "ij"]
    add(waiting, "klmnopq")
    assert joined(waiting.ready(0.0)) == ["klmn"]  # the other three may still be joined


def test_a_batch_is_bounded_in_bytes() -> None:
    waiting = batcher(images=9)
    add(waiting, "ab", MAX_BATCH_BYTES // 2)
    assert joined(waiting.ready(SOON)) == ["ab"]
    add(waiting, "c", MAX_BATCH_BYTES - 1)
    assert waiting.ready(SOON) == []
    add(waiting, "d", 2)
    assert joined(waiting.ready(SOON)) == ["c"]
    add(waiting, "e", 2 * MAX_BATCH_BYTES)
    assert joined(waiting.ready(SOON)) == ["d", "e"]  # one image may be larger than the limit


def test_a_batch_has_nearly_equal_deadlines() -> None:
    waiting = batcher(images=9, deadline_slack_seconds=1.0)
    for item, deadline in zip("abcd", (10.0, 10.9, 11.1, 10.5), strict=True):
        waiting.add(item, 1, deadline)
    assert joined(waiting.ready(LATER)) == ["ab", "cd"]


def test_the_size_doubles_while_images_are_quick() -> None:
    size = BatchSize(4, 32)
    for expected in (8, 16, 32, 32):
        size.succeeded(size.images, 0.001, 0)
        assert size.images == expected
    size.succeeded(3, 0.001, 0)  # a batch that wasn't full shows nothing
    assert size.images == 32


def test_the_size_halves_when_images_are_slow() -> None:
    size = BatchSize(8, 32)
    size.succeeded(8, 1.0, 0)
    assert size.images == 4
    for _ in range(9):
        size.succeeded(size.images, 1.0, 0)
    assert size.images == 1


def test_large_results_limit_the_size() -> None:
    size = BatchSize(1, 32)
    for _ in range(9):
        size.succeeded(size.images, 0.0, 2**20)
    assert size.images == 8


@pytest.mark.parametrize("error", [InvalidInputError, OverloadedError])
def test_a_failure_halves_the_size(error: type[InvalidInputError | OverloadedError]) -> None:
    size = BatchSize(16, 32)
    size.failed(16, error("scripted"))
    assert size.images == 8


def test_a_size_that_the_server_rejected_is_not_tried_again() -> None:
    size = BatchSize(16, 32)
    size.failed(16, InvalidInputError("at most 10 inputs"))
    for _ in range(5):
        size.succeeded(size.images, 0.0, 0)
    assert size.images == 8


def test_a_size_that_was_too_much_is_approached_slowly() -> None:
    size = BatchSize(16, 32)
    size.failed(16, OverloadedError("full"))
    seen = []
    for _ in range(4):
        size.succeeded(size.images, 0.0, 0)
        seen.append(size.images)
    assert seen == [15, 16, 17, 18]
