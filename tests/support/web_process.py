"""The real web process on a free port, and requests to it."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from threading import Thread
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from support.forked import Forked

START_SECONDS = 60
STOP_SECONDS = 30
REQUEST_SECONDS = 30


@dataclass(frozen=True)
class Reply:
    """The reply to a request. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        """The status, the code and the message of an error."""
        error = self.json["error"]
        return self.status, error["code"], error["message"]


class WebProcess:
    """A running `convscope web`.

    Args:
        server: The gRPC server's HOST:PORT.
        flags: Further flags.
        command: The command with its addresses. By default, its process is forked from one with
            the imports done.
    """

    def __init__(self, server: str, *flags: str, command: Sequence[str] = ()) -> None:
        flags = ("--drain-seconds", "0", *flags)
        self.process = _start(command or None, server, flags)
        self.log: list[dict[str, Any]] = []
        self.port: int = self._wait_until_serving()["http_port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._reader = Thread(target=self._read_all, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, None, headers)

    def post(
        self, path: str, body: bytes, content_type: str = "image/png", **headers: str
    ) -> Reply:
        return self.request("POST", path, body, {"Content-Type": content_type, **headers})

    def post_form(self, path: str, *images: bytes, field: str = "image") -> Reply:
        body, content_type = form(*images, field=field)
        return self.post(path, body, content_type)

    def post_json(self, path: str, content: Any) -> Reply:
        return self.post(path, json.dumps(content).encode(), "application/json")

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        """Make a request. An underscore in the name of a header is a hyphen."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            reply = connection.getresponse()
            lower = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, lower, reply.read())
        finally:
            connection.close()

    def stop(self) -> int:
        """Stop the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join()
        self._stderr().close()
        return code

    def _stderr(self) -> Any:
        return self.process.stderr

    def _read_all(self) -> None:
        for line in self._stderr():
            self._read(line)

    def _read(self, line: str) -> dict[str, Any]:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            event = {"event": line.rstrip()}
        self.log.append(event)
        return event

    def _wait_until_serving(self) -> dict[str, Any]:
        for line in self._stderr():
            event = self._read(line)
            if event["event"] == "serving":
                return event
        code = self.process.wait(START_SECONDS)
        self._stderr().close()
        raise RuntimeError(f"the web process ended with {code}: {self.log}")


def fresh(server: str) -> tuple[str, ...]:
    """Return the command that starts a new interpreter, as users do."""
    return (sys.executable, "-m", "convscope.client", *_web(server))


def _web(server: str) -> tuple[str, ...]:
    return ("web", "--server", server, "--http-address", "127.0.0.1:0")


def _start(
    command: Sequence[str] | None, server: str, flags: Sequence[str]
) -> "subprocess.Popen[str] | Forked":
    if command is None:
        return Forked("web", [*_web(server), *flags])
    return subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True)


def form(*images: bytes, field: str = "image") -> tuple[bytes, str]:
    """Return a multipart form with images, and its content type."""
    boundary = uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{n}.png"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + image
        + b"\r\n"
        for n, image in enumerate(images)
    ]
    return b"".join(
        (*parts, f"--{boundary}--\r\n".encode())
    ), f"multipart/form-data; boundary={boundary}"
