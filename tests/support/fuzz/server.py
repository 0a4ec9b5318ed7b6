"""What every input must leave behind: a server that runs, a code that fits, a clean message."""

import os
import re
from collections import Counter
from pathlib import Path

import grpc
from google.protobuf.message import Message

from convscope.open_inference.open_inference_pb2 import ModelStreamInferResponse
from convscope.v1.inference_pb2 import ClassifyError, InputResult
from support.calls import connected, image_request
from support.fuzz.protobuf import within
from support.server import ServerProcess

__all__ = ["INTERNALS", "Outcomes", "Usage"]

_NEVER = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
# Paths, modules and classes of the implementation have no meaning for callers.
INTERNALS = re.compile(r"Traceback|\.py\b|site-packages|/tmp/|/root/|object at 0x|\w(?<!\W)Error\(")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 2**20


class Outcomes:
    """Counts the codes of calls, and checks each."""

    def __init__(self) -> None:
        self.codes = Counter[str]()

    def add(self, error: grpc.RpcError | None) -> None:
        """Count a call that succeeded, or failed with an error.

        Raises:
            AssertionError: The code or the message shows a fault of the server.
        """
        if error is None:
            self.codes["OK"] += 1
        else:
            self.codes[error.code().name] += 1
            _check(error.code(), error.details() or "")

    def add_result(self, result: InputResult) -> None:
        """Count one of several inputs of a call.

        Raises:
            AssertionError: Its error shows a fault of the server.
        """
        if result.HasField("prediction"):
            self.codes["OK"] += 1
        else:
            self.codes[_CODES[result.error.code].name] += 1
            _check(_CODES[result.error.code], result.error.message)

    def add_reply(self, reply: Message) -> None:
        """Check the errors within a reply: of one of several inputs, or of a stream's request.

        Raises:
            AssertionError: One shows a fault of the server.
        """
        for part in within(reply):
            if isinstance(part, ClassifyError):
                self.codes["in a reply"] += 1
                _check(_CODES[part.code], part.message)
            elif isinstance(part, ModelStreamInferResponse) and part.error_message:
                self.codes["in a reply"] += 1
                _check(None, part.error_message)

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.codes.most_common())


def _check(code: grpc.StatusCode | None, message: str) -> None:
    assert code not in _NEVER, f"{code}: {message}"
    assert message, f"{code} without a message"
    assert not INTERNALS.search(message), f"{code} shows internals: {message}"


class Usage:
    """What a server process consumes."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._process = Path("/proc") / str(server.process.pid)

    def cpu_seconds(self) -> float:
        """Return the CPU time so far, in seconds."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self) -> float:
        """Return the resident memory, in MiB."""
        return (
            int((self._process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / _MIB
        )

    def check(self) -> None:
        """Check that the server runs and classifies.

        Raises:
            AssertionError: It doesn't.
        """
        assert self._server.process.poll() is None, "the server ended"
        with connected(self._server) as stub:
            reply = stub.Classify(image_request(), timeout=30)
        assert reply.results
