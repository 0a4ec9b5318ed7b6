"""Validates a bundle's files before sessions are opened from them.

Parsing and checking a graph blocks the interpreter for up to seconds. While the
server serves requests, this is done in a subprocess:

    python -m convscope.server.runtime.validation IDLE_SECONDS

It reads lines of JSON, [DIRECTORY, OUTPUT, TRUSTED], writes the graph to run to OUTPUT,
and replies to each with a line of JSON: the hash of the manifest, or the reason why the
bundle is rejected. TRUSTED has the fields of `TrustedSigners`, or is null.
A graph that crashes the checker ends the subprocess, and not the server.
"""

import json
import os
import select
import selectors
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

from convscope.bundle.reader import Bundle, read_bundle
from convscope.bundle.signatures import TrustedSigners
from convscope.server.errors import BundleRejectedError, translate_bundle_errors
from convscope.server.runtime.graph import LOGITS, PROBABILITIES, cut
from convscope.v1 import manifest_pb2 as pb

__all__ = ["BundleValidator", "ValidatedBundle", "validate_bundle"]

TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.5
# Each bundle that follows within this time saves half a second of one core.
IDLE_SECONDS = 60.0
_END_SECONDS = 2.0
_CHUNK = 65_536
# Requests have priority.
NICENESS = 10


@dataclass(frozen=True, slots=True)
class ValidatedBundle:
    """A bundle whose files match its manifest.

    Args:
        bundle: The bundle.
        plain_graph: The ONNX graph without feature maps and explanations. For a
            feature extractor, which has no other outputs, the whole graph.
    """

    bundle: Bundle
    plain_graph: bytes


def validate_bundle(directory: Path, trusted: TrustedSigners | None = None) -> ValidatedBundle:
    """Check the manifest, the signature, the hashes and the graph.

    Args:
        directory: The version's directory.
        trusted: One of these must have signed the bundle; None to ignore signatures.

    Raises:
        BundleRejectedError: One of them is invalid.
        OSError: A file can't be read.
    """
    # Imported here, so that a server that never checks a graph itself never loads the library.
    from convscope.bundle.graph_contract import check_graph, parse_graph

    with translate_bundle_errors():
        bundle = read_bundle(directory, trusted)
        data = bundle.read_graph()
        check_graph(parse_graph(data), bundle.manifest)
    if bundle.manifest.task == pb.TASK_CLASSIFICATION:
        data = cut(data, bundle.manifest.input.name, (LOGITS, PROBABILITIES))
    return ValidatedBundle(bundle, data)


class BundleValidator:
    """Validates bundles in a subprocess, which waits some time for the next one.

    Safe to call from several threads; they take turns.

    Args:
        idle_seconds: How long the subprocess waits for another bundle.
        trusted: One of these must have signed each bundle; None to ignore signatures.
    """

    def __init__(
        self, idle_seconds: float = IDLE_SECONDS, trusted: TrustedSigners | None = None
    ) -> None:
        self._idle_seconds = idle_seconds
        self._trusted = None if trusted is None else asdict(trusted)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., BundleValidator] | None = None

    @property
    def checks_signatures(self) -> bool:
        """Whether each bundle must be signed."""
        return self._trusted is not None

    def validate(
        self, directory: Path, stopping: Callable[[], bool] = lambda: False
    ) -> ValidatedBundle:
        """Run `validate_bundle` in the subprocess; aborted if `stopping` becomes true.

        Raises:
            BundleRejectedError: The bundle is invalid, or the subprocess crashed or
                took too long.
            OSError: A file can't be read, or no subprocess can be started.
        """
        with self._lock, tempfile.TemporaryDirectory(prefix="convscope-") as scratch:
            output = Path(scratch) / "plain.onnx"
            request = [str(directory), str(output), self._trusted]
            reply = self._request(json.dumps(request, default=str).encode(), stopping)
            if "reason" in reply:
                raise BundleRejectedError(reply["reason"], reply["message"])
            with translate_bundle_errors():
                bundle = read_bundle(directory)
            if bundle.manifest_sha256 != reply["manifest_sha256"]:
                raise BundleRejectedError(
                    "files", "the manifest changed while the bundle was checked"
                )
            return ValidatedBundle(bundle, output.read_bytes())

    def _request(self, line: bytes, stopping: Callable[[], bool]) -> dict[str, str]:
        while True:
            try:
                reply = _exchange(self._running(), line + b"\n", stopping)
            except BaseException:  # a late reply must not be mistaken for the next one
                self._end()
                raise
            if reply is not None:
                result: dict[str, str] = json.loads(reply)
                return result
            code = self._end()
            if code != 0:  # with 0, its idle time ended just before this bundle arrived
                raise BundleRejectedError(
                    "graph", f"the process that checked the bundle ended with {code}"
                )

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the waiting subprocess, or start one."""
        if self._process is not None and self._process.poll() is not None:
            self._end()  # whatever ended it, no bundle caused it
        return self._process or self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", __name__, str(self._idle_seconds)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # the server handles an interrupt at the terminal
        )
        # It ends with this object at the latest, and whenever the server ends.
        self._finalizer = weakref.finalize(self, _end, process)
        self._process = process
        return process

    def _end(self) -> int:
        """End the subprocess, and return its exit code."""
        process, self._process = self._process, None
        if self._finalizer is not None:
            self._finalizer.detach()
        return 0 if process is None else _end(process)


def _exchange(
    process: subprocess.Popen[bytes], line: bytes, stopping: Callable[[], bool]
) -> bytes | None:
    """Send a line and return the reply; None if the process has ended."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process was started without pipes")
    timeout_at = monotonic() + TIMEOUT_SECONDS
    try:
        process.stdin.write(line)
    except BrokenPipeError:
        return None
    reply = b""
    # Not select(): with many connections, file descriptors exceed its limit.
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not reply.endswith(b"\n"):
            if selector.select(POLL_SECONDS):
                part = process.stdout.read(_CHUNK)
                if not part:
                    return None
                reply += part
            elif stopping() or monotonic() >= timeout_at:
                raise BundleRejectedError(
                    "graph", "checking the bundle took too long, or the server is stopping"
                )
    return reply


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a process, which may have ended already, and return its exit code."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        return process.wait(_END_SECONDS)  # it ends when its input is closed
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def main() -> None:
    """Validate bundles for another process, until none arrives for some time."""
    idle_seconds = float(sys.argv[1])
    os.nice(NICENESS)
    while select.select([sys.stdin.buffer], [], [], idle_seconds)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            break
        directory, output, trusted = json.loads(line)
        result = _validate(Path(directory), Path(output), _signers(trusted))
        try:
            os.write(sys.stdout.fileno(), json.dumps(result).encode() + b"\n")
        except BrokenPipeError:  # the other process has ended
            break


def _signers(fields: dict[str, str | None] | None) -> TrustedSigners | None:
    return None if fields is None else TrustedSigners.from_texts(fields)


def _validate(directory: Path, output: Path, trusted: TrustedSigners | None) -> dict[str, str]:
    """Write the graph to run, or return the reason why the bundle is rejected."""
    try:
        validated = validate_bundle(directory, trusted)
        output.write_bytes(validated.plain_graph)
    except BundleRejectedError as error:
        return {"reason": error.reason, "message": error.message}
    except OSError as error:
        return {"reason": "files", "message": f"can't be read: {error.strerror}"}
    return {"manifest_sha256": validated.bundle.manifest_sha256}


if __name__ == "__main__":
    main()
