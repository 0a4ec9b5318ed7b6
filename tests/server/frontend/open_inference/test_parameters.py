"""The extension schedule_policy: what a request's parameters mean for its turn."""

import pytest
from support.oip import set_parameter

from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.parameters import Schedule, read_schedule


def schedule(**values: int | str | bool) -> Schedule:
    request = pb.ModelInferRequest()
    for name, value in values.items():
        set_parameter(request.parameters[name], value)
    return read_schedule(request.parameters)


@pytest.mark.parametrize(("priority", "bulk"), [(0, False), (1, False), (2, True), (9, True)])
def test_a_higher_number_is_less_urgent(priority: int, bulk: bool) -> None:
    assert schedule(priority=priority) == Schedule(bulk=bulk)


def test_timeout_is_in_microseconds_and_zero_is_none() -> None:
    assert schedule(timeout=250_000).timeout_seconds == pytest.approx(0.25)
    assert schedule(timeout=0).timeout_seconds is None


def test_integers_without_a_sign_are_taken_too() -> None:
    request = pb.ModelInferRequest()
    request.parameters["priority"].uint64_param = 2
    assert read_schedule(request.parameters).bulk
