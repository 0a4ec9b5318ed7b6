"""The code of a call that was cancelled."""

import grpc
import pytest

from convscope.server.observability.calls import code_of_cancelled


@pytest.mark.parametrize(
    ("seconds_left", "code"),
    [
        (None, grpc.StatusCode.CANCELLED),
        (60, grpc.StatusCode.CANCELLED),
        (0, grpc.StatusCode.DEADLINE_EXCEEDED),
        (-1, grpc.StatusCode.DEADLINE_EXCEEDED),
        # The caller's clock is a little ahead of ours.
        (0.005, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_cancelled_call_expired_or_its_caller_left(
    seconds_left: float | None, code: grpc.StatusCode
) -> None:
    assert code_of_cancelled(seconds_left) is code
