"""The extension schedule_policy: what a request's parameters mean for its turn."""

import pytest
from support.oip import set_parameter

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.parameters import RequestOptions, read_options


def options(**values: int | str | bool) -> RequestOptions:
    request = pb.ModelInferRequest()
    for name, value in values.items():
        set_parameter(request.parameters[name], value)
    return read_options(request.parameters)


@pytest.mark.parametrize(("priority", "bulk"), [(0, False), (1, False), (2, True), (9, True)])
def test_a_higher_number_is_less_urgent(priority: int, bulk: bool) -> None:
    assert options(priority=priority) == RequestOptions(bulk=bulk)


def test_timeout_is_in_microseconds_and_zero_is_none() -> None:
    assert options(timeout=250_000).timeout_seconds == pytest.approx(0.25)
    assert options(timeout=0).timeout_seconds is None


def test_integers_without_a_sign_are_taken_too() -> None:
    request = pb.ModelInferRequest()
    request.parameters["priority"].uint64_param = 2
    assert read_options(request.parameters).bulk
