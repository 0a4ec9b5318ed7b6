"""Runs the blocks of a page of docs/ in order, as its reader would in two terminals.

Commands are forked from processes with the imports done, which saves most of their time.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from types import TracebackType
from typing import Self

from convscope.client import Client, ConvscopeError
from support.exporter import run_exporter
from support.forked import Forked
from support.forked import run as run_forked

__all__ = ["NOT_RUN", "PageBlock", "PageRun", "page_blocks"]

NOT_RUN = "Not run by the tests"
READY_SECONDS = 120
STOP_SECONDS = 40
BIN = Path(sys.executable).parent
# What a reader leaves running in a terminal of its own.
SERVERS = ("convscope-server --models", "convscope web ")
PORTS = {"grpc": "localhost:8001", "metrics": "127.0.0.1:8002", "http": "localhost:8080"}

PageBlock = tuple[str, str, str]


def page_blocks(page: Path) -> list[PageBlock]:
    """Return the language, the title and the lines of each block of a page."""
    found = re.findall(
        r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return [(language, title, code) for language, title, code in found]


class PageRun:
    """The state of a run: the folder, the servers, and what the last command printed.

    Args:
        folder: Where the commands run.
        replaced: Parts of commands, and what runs in their place.
    """

    def __init__(self, folder: Path, replaced: Mapping[str, str]) -> None:
        self.folder = folder
        self.shown = ""
        self._replaced = replaced
        self._script = ""  # the Python of the page so far
        self._ports = {name: _free_port() for name in PORTS}
        self._servers: list[Forked] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.send_signal(signal.SIGTERM)
        for server in self._servers:
            server.wait(STOP_SECONDS)

    def run(self, block: PageBlock) -> None:
        """Run a block, or compare its text with what the block before printed."""
        language, title, code = block
        if title.startswith(NOT_RUN):
            return
        if language == "console":
            commands = re.findall(r"^\$ (.+?(?:\\\n.+?)*)$", code, re.MULTILINE)
            self.shown = "".join(map(self._command, commands))
        elif language == "python":
            self._python(code)
        else:
            assert language == "text", language
            shown = _squeeze(self.shown)
            for part in (part for line in code.splitlines() for part in line.split("…")):
                assert _squeeze(part) in shown, self.shown

    def _command(self, command: str) -> str:
        command = " ".join(command.replace("\\\n", " ").split("  #")[0].split())
        for part, other in self._replaced.items():
            command = command.replace(part, other)
        if command.startswith(SERVERS):
            self._start(shlex.split(self._with_ports(command)))
            return ""
        with chdir(self.folder):
            done = self._run(self._with_ports(command))
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = shlex.split(command)
        if program == "convscope-exporter":
            return run_exporter(*arguments)
        if program == "convscope":
            return run_forked("client", arguments, self._environment())
        return subprocess.run(
            ["bash", "-ec", command],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def _python(self, code: str) -> None:
        """Run a block after those before it, whose variables it may use."""
        marker = "-- the block --"
        lines = f"{self._script}\nprint({marker!r})\n{self._with_ports(code)}"
        self._script += self._with_ports(code)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", lines],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout.partition(marker)[2].splitlines()[1:]
        wanted = re.findall(r"\)  # (.+)$", code, re.MULTILINE)
        for line, start in zip(printed, wanted, strict=False):
            assert line.startswith(start), f"{line} instead of {start}"

    def _start(self, command: list[str]) -> None:
        program, *arguments = command
        with chdir(self.folder), Path(f"{program}.log").open("wb") as log:
            self._servers.append(
                Forked(
                    "server" if program == "convscope-server" else "web",
                    arguments,
                    environment=self._environment(),
                    stderr=log.fileno(),
                )
            )
        if program == "convscope-server":
            _wait_for_port(self._ports["grpc"])
            _wait_for_models(f"localhost:{self._ports['grpc']}")
        else:
            _wait_for_port(self._ports["http"])

    def _with_ports(self, text: str) -> str:
        for name, address in PORTS.items():
            host, _, port = address.partition(":")
            for other in {host, "localhost", "127.0.0.1"}:
                text = text.replace(f"{other}:{port}", f"{other}:{self._ports[name]}")
        return text

    def _environment(self) -> dict[str, str]:
        ports = self._ports
        return os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "CONVSCOPE_SERVER": f"localhost:{ports['grpc']}",
            "CONVSCOPE_GRPC_ADDRESS": f"127.0.0.1:{ports['grpc']}",
            "CONVSCOPE_METRICS_ADDRESS": f"127.0.0.1:{ports['metrics']}",
            "CONVSCOPE_HTTP_ADDRESS": f"127.0.0.1:{ports['http']}",
            "CONVSCOPE_POLL_SECONDS": "0.5",
            "CONVSCOPE_NO_TUNING": "true",
            "no_proxy": "localhost,127.0.0.1",
        }


def _wait_for_port(port: int) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}")


def _wait_for_models(target: str) -> None:
    end = time.monotonic() + READY_SECONDS
    with Client(target) as client:
        while time.monotonic() < end:
            try:
                if client.models():
                    return
            except ConvscopeError:
                pass
            time.sleep(0.2)
    raise AssertionError("no model is loaded")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _squeeze(text: str) -> str:
    """Return a text without what differs between runs and machines.

    A run of spaces or of lines is one of them, times are left out, and probabilities have two
    digits.
    """
    text = re.sub(r"[─█▏▎▍▌▋▊▉]+", "─", text)
    text = re.sub(r"\d+\.\d+ ms", "… ms", text)
    return " ".join(re.sub(r"\b(0\.\d\d)\d+", r"\1", text).split())
