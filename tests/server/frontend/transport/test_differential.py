"""One table of calls, with the same outcome on both transports.

The clients are grpcio's and one of raw frames. An outcome is what the caller
sees (status, details, metadata, messages, resets), what the handlers noticed,
and what the metrics counted. `differences` lists what may differ, and why.
"""

from collections.abc import Sequence

import pytest
from support.differential.cases import Outcome
from support.differential.grpcio_calls import calls_of_grpcio
from support.differential.leaving_callers import leaving_callers
from support.differential.raw_requests import requests_of_raw_frames
from support.transports import COUNTED, serving

CASES = {**calls_of_grpcio(), **requests_of_raw_frames(), **leaving_callers()}

# What a request gets that only one of the transports accepts.
ANSWER = {"blocks", "data", "message", "status"}
FIRST = {"metadata"}  # the method `unary` sends initial metadata too
NO_ANSWER = {"blocks", "data", "http", "type", "status", "resets"}


def differences() -> dict[str, set[str]]:
    """Return the parts of an outcome that differ, by the name of the case."""
    found: dict[str, set[str]] = {}

    def differ(reason: str, names: Sequence[str], parts: set[str]) -> None:
        for name in names:
            found[name] = found.get(name, set()) | parts

    def both(*names: str) -> list[str]:
        return [f"{name} to {method}" for name in names for method in ("echo", "unary")]

    wrong_timeouts = [f"grpc-timeout {value!r}" for value in (b"", b"5", b"S", b"5s", b"-5S")]
    differ(
        "our messages say what is wrong and what is allowed",
        both(
            "compressed without an encoding",
            "compressed with identity",
            "damaged gzip",
            "-bin that is not base64",
            "grpc-timeout b'1.5S'",
            "grpc-timeout b'x'",
            *wrong_timeouts,
        ),
        {"message"},
    )
    differ(
        "gRPC's protocol wants UNIMPLEMENTED for an unknown encoding",
        both("unknown encoding", "unknown encoding, not used"),
        {"message", "status"},
    )
    differ(
        "grpc.aio waits until the deadline for a message that can't come any more",
        both("headers only", "end without a message", "half a prefix", "half a message"),
        {"message", "status"},
    )
    once = ("two messages", "unknown flag", "empty gzip", "grpc-timeout of 9 digits")
    differ(
        "grpc.aio ignores what follows the first message, other bits of the flag, the "
        "compression of no bytes, and the ninth digit of a timeout",
        both(*once),
        ANSWER,
    )
    differ("the answer above", [f"{name} to unary" for name in once], FIRST)
    spaces = both("grpc-timeout b' 5S'", "grpc-timeout b'5S '")
    differ("HTTP/2 forbids spaces around a value", spaces, NO_ANSWER)
    differ("the answer above", [name for name in spaces if name.endswith("unary")], FIRST)
    differ(
        "gRPC's protocol has several -bin values in one header, separated by commas",
        ["-bin values [b'AAE,/w']"],
        ANSWER | FIRST,
    )
    differ("grpc.aio wants te; other servers do not", ["without te"], NO_ANSWER)
    differ("HTTP/2 forbids it", ["other te"], NO_ANSWER - {"data"} | {"message"})
    differ(
        "gRPC's protocol wants 415 for another content-type; grpc.aio accepts all",
        [
            "without content-type",
            "content-type application/grpc-web",
            "content-type application/json",
            "content-type text/html",
            "content-type APPLICATION/GRPC",
        ],
        {"blocks", "data", "http", "status", "type"},
    )
    differ("405 says what is wrong", ["method GET", "method PUT"], {"blocks", "http", "resets"})
    differ("405 says what is wrong", ["method HEAD"], {"http", "message", "status", "type"})
    differ(
        "to the handler of a stream, grpc.aio ends a cancelled stream as a complete one",
        [
            "cancelled in a counted stream",
            f"too large in a stream of /{COUNTED}/each",
            f"cancel during replies of {COUNTED}/each",
            f"cut during replies of {COUNTED}/each",
        ],
        {"counters"},
    )
    return found


DIFFERENCES = differences()
# grpc.aio notices some cancellations before the stream ends.
VARYING = {"cancelled in a counted stream"}

# The comparison


async def outcome(transport: str, name: str) -> Outcome:
    async with serving(transport) as served:
        found = await CASES[name](served)
        return {"counters": await served.counters(), **found}


@pytest.mark.parametrize("name", CASES)
async def test_both_transports_agree(name: str) -> None:
    ours, reference = await outcome("http2", name), await outcome("grpc-aio", name)
    assert ours.keys() == reference.keys()
    found = {key for key in ours if ours[key] != reference[key]}
    expected = DIFFERENCES.get(name, set())
    assert found == expected or (name in VARYING and not found), (ours, reference)


def test_every_listed_difference_is_one_of_a_case() -> None:
    assert not DIFFERENCES.keys() - CASES.keys()
