"""Forks a process for each version to validate, and ends one that exceeds a limit.

It receives examinations over a socket, as lines of JSON, and replies to each with a
line of JSON: what was found, or why the version is rejected. It ends when the socket is
closed, and with it what runs. It has one thread, as a fork requires.
"""

import ctypes
import gc
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

from convscope.bundle.layout import GRAPH
from convscope.server.errors import BundleRejectedError
from convscope.server.observability.out_of_memory import is_out_of_memory
from convscope.server.runtime.validation.examination import Examination
from convscope.server.runtime.validation.limits import megabytes, shown_seconds
from convscope.server.runtime.validation.memory import (
    anonymous_bytes,
    limit_memory,
    requested_bytes,
)
from convscope.server.runtime.validation.serialization import from_json

__all__ = ["run_fork_server"]

Reply = Mapping[str, Any]

# A process that takes too much memory may take a few percent more in the meantime.
WATCH_SECONDS = 0.02
# Requests have priority.
NICENESS = 10
_MAX_MESSAGE_BYTES = 65_536
_TICKS = os.sysconf("SC_CLK_TCK")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def run_fork_server(descriptor: int) -> None:
    """Validate versions for the process at the other end of a socket, until it closes it."""
    # The server handles them, and ends this process. A service manager sends them to both.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Before the first fork, so that not every process imports it.
    import convscope.bundle.graph_contract

    gc.freeze()
    try:
        while True:
            examination = from_json(_read_line(descriptor))
            if examination.trusted is not None:  # once, and not in each process
                import convscope.bundle.signed_files  # noqa: F401
            reply = _validate(examination, descriptor)
            os.write(descriptor, json.dumps(reply).encode() + b"\n")
    except (ConnectionError, _ClosedError):
        return


def _read_line(descriptor: int) -> bytes:
    """Read the next request; none is sent before the reply to the one before.

    Raises:
        _ClosedError: The socket is closed.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(descriptor, _MAX_MESSAGE_BYTES)
        if not part:
            raise _ClosedError
        line += part
    return line


class _ClosedError(Exception):
    """The server has ended, or doesn't wait for the version any more."""


@dataclass
class _Child:
    """A process that examines a version.

    Args:
        pid: Its id.
        messages: The descriptor from which its messages are read.
        start_bytes: Its memory at the start.
    """

    pid: int
    messages: int
    start_bytes: int
    doing: str = "starting"
    reply: Reply | None = None
    highest_bytes: int = 0
    received: bytes = b""

    def read(self) -> bool:
        """Read its messages; return whether it can send more."""
        data = os.read(self.messages, _MAX_MESSAGE_BYTES)
        *lines, self.received = (self.received + data).split(b"\n")
        if len(self.received) > _MAX_MESSAGE_BYTES:
            return False
        for line in lines:
            message = json.loads(line)
            self.doing = message.get("doing", self.doing)
            if "doing" not in message:
                self.reply = message
        return bool(data)

    def grown_bytes(self) -> int:
        """Return the memory that it takes now, beside that at the start."""
        grown = anonymous_bytes(self.pid) - self.start_bytes
        self.highest_bytes = max(self.highest_bytes, grown)
        return grown

    def cpu_seconds(self) -> float:
        """Return the seconds of CPU that it took so far."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def end(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _validate(examination: Examination, server: int) -> Reply:
    """Examine a version in a new process.

    Raises:
        _ClosedError: The server has ended, or doesn't wait for it any more.
        OSError: No process can be started.
    """
    parent = os.getpid()
    graph_bytes = _graph_bytes(examination.directory)
    limit = examination.limits.memory_for(graph_bytes)
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        return {"reason": "system", "errno": error.errno, "message": error.strerror}
    if pid == 0:
        os.close(server)
        os.close(reading)
        _become_examiner(examination, graph_bytes, writing, parent)
    os.close(writing)
    child = _Child(pid, reading, anonymous_bytes(pid))
    rejection: Reply | None = None
    try:
        rejection = _watch(child, examination, limit, server)
    finally:
        child.end()
        os.close(reading)
        _, status = os.waitpid(pid, 0)
    if rejection is not None:
        return rejection
    if child.reply is not None:
        return child.reply
    return _explain_end(os.waitstatus_to_exitcode(status), child)


def _watch(child: _Child, examination: Examination, limit: int, server: int) -> Reply | None:
    """Wait until a process has replied or ended; return why it must be ended before that."""
    limits, started_at = examination.limits, monotonic()
    poll = select.poll()
    poll.register(child.messages, select.POLLIN)
    poll.register(server, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(1000 * WATCH_SECONDS)]
        if server in ready:  # nothing else is sent meanwhile: the socket is closed
            raise _ClosedError
        if child.messages in ready and (not child.read() or child.reply is not None):
            return None
        if (grown := child.grown_bytes()) > limit:
            return _too_much_memory(child.doing, limit, grown)
        seconds, cpu_seconds = monotonic() - started_at, child.cpu_seconds()
        if cpu_seconds > limits.seconds or seconds > limits.clock_seconds:
            taken = f"{shown_seconds(cpu_seconds)} of CPU and {shown_seconds(seconds)} in all"
            return {
                "reason": "time",
                "message": f"{child.doing} was not finished after {taken}; validating a version "
                f"may take {limits.seconds:g} s of CPU and {limits.clock_seconds:g} s in all: "
                "raise --max-load-seconds if the network needs more "
                f"({_memory_so_far(child)})",
            }


def _too_much_memory(doing: str, limit: int, found: int) -> Reply:
    """Reject a version for its memory, which is 0 if it isn't known."""
    takes = megabytes(found) if found > limit else "more"
    return {
        "reason": "memory",
        "message": f"{doing} takes {takes} of memory; validating a version may take "
        f"{megabytes(limit)}: raise --max-load-memory if the network needs more",
    }


def _memory_so_far(child: _Child) -> str:
    return f"it took {megabytes(child.highest_bytes)} of memory so far"


def _explain_end(code: int, child: _Child) -> Reply:
    if code == -signal.SIGKILL:  # not by this process: the system needed its memory
        return {"reason": "system", "message": "the system ended the validation", "killed": True}
    return {
        "reason": "graph",
        "message": f"{child.doing} ended the process that validated the bundle with {code}",
    }


def _graph_bytes(directory: Path) -> int:
    """Return the size of a version's graph, or 0: the examination reports what is wrong."""
    try:
        return (directory / GRAPH).stat().st_size
    except OSError:
        return 0


def _become_examiner(
    examination: Examination, graph_bytes: int, messages: int, parent: int
) -> NoReturn:
    """Examine a version in this process, which then ends."""
    code = 1
    try:
        _isolate(examination, parent)
        limit_memory(examination.limits.memory_for(graph_bytes))
        reply = _examine(examination, graph_bytes, lambda doing: _send(messages, {"doing": doing}))
        _send(messages, reply)
        code = 0
    finally:
        # Neither the sessions nor what the forked process had are to be finalized.
        os._exit(code)


def _isolate(examination: Examination, parent: int) -> None:
    """Tie this process to its parent, and keep it out of the server's way."""
    library = ctypes.CDLL(None)
    if sys.platform == "linux":
        library.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            raise _ClosedError
        with suppress(OSError):  # when memory is short, this process is ended, and not the server
            Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):  # ONNX Runtime writes its errors there, besides raising them
        os.dup2(null, standard)
    if examination.hot:
        os.nice(NICENESS)


def _examine(examination: Examination, graph_bytes: int, enter: Callable[[str], None]) -> Reply:
    limits = examination.limits
    doing, start_bytes = "starting", anonymous_bytes(os.getpid())

    def note(what: str) -> None:
        nonlocal doing
        doing = what
        enter(what)

    try:
        findings = examination.run(note)
    except OSError as error:
        return {"reason": "system", "errno": error.errno, "message": error.strerror or "no reason"}
    except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this version only
        if is_out_of_memory(error):
            found = anonymous_bytes(os.getpid()) - start_bytes + requested_bytes(error)
            return _too_much_memory(doing, limits.memory_for(graph_bytes), found)
        if isinstance(error, BundleRejectedError):
            return {"reason": error.reason, "message": error.message}
        return {
            "reason": "unexpected",
            "message": f"{doing} failed with {type(error).__name__}",
        }
    figures = findings.figures
    limit = limits.memory_for(graph_bytes, figures.batch)
    if figures.peak_bytes > limit:
        doing = f"a full batch of {figures.batch}"
        return _too_much_memory(doing, limit, figures.peak_bytes)
    return asdict(findings)


def _send(messages: int, message: Reply) -> None:
    os.write(messages, json.dumps(message).encode() + b"\n")
