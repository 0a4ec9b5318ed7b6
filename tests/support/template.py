"""The process from which the tests' servers or commands are forked, with the imports done.

    python -P template.py ROOM DESCRIPTOR

ROOM is `server` for convscope-server, `client` for convscope, or `web` for `convscope web`. The
imports take most of their start. Nothing else happens before the fork: this process has one
thread, and no session, event loop or channel.

For each process, the socket DESCRIPTOR brings the files of its standard input, output and
error, and another socket. This one brings a line of JSON with the arguments, the environment
and the directory of the process. It returns two lines: the process's id, and its exit code.
"""

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib import import_module
from typing import NamedTuple, NoReturn

# What the entry points import only when they need it.
PRELOADED = {
    "client": (
        "convscope.client.cli",
        "pydantic.fields",  # Typer imports both when a command runs
        "pydantic.type_adapter",
        "grpc.experimental",
        "rich.progress",
        "rich.table",
    ),
    "server": (
        "convscope.bundle.graph_contract",
        "convscope.server.app",
        "convscope.server.config.checks",
        "convscope.server.config.command_line",
        "convscope.server.config.serialization",
        "convscope.server.frontend.transport.http2.engine",
        "convscope.server.frontend.transport.http2.server",
        "convscope.server.process.ports",
        "convscope.server.runtime.graph",
        "convscope.server.runtime.providers.available",
        "encodings.idna",
        "PIL.BmpImagePlugin",
        "PIL.GifImagePlugin",
        "PIL.PngImagePlugin",
        "PIL.PpmImagePlugin",
        "PIL._webp",
        "uvloop",
    ),
    "web": (
        "convscope.client.cli",
        "convscope.web.serving",
        "pydantic.fields",
        "pydantic.type_adapter",
        "uvicorn.lifespan.on",  # it imports these when it runs
        "uvicorn.loops.uvloop",
        "uvicorn.protocols.http.httptools_impl",
    ),
}
PROGRAMS = {
    "client": "convscope.client.__main__",
    "server": "convscope.server.__main__",
    "web": "convscope.client.__main__",
}
STANDARD_FILES = 3


class Request(NamedTuple):
    """A process to start: the socket that describes it, and its standard files."""

    channel: socket.socket
    files: list[int]


def fork_processes(requests: socket.socket) -> Request:
    """Fork a process for each request, and report its end; return in each forked process.

    Raises:
        SystemExit: The process of the tests has ended.
    """
    with ExitStack() as sockets:  # a forked process has none of them open
        sockets.enter_context(requests)
        ended, wakeup = map(sockets.enter_context, socket.socketpair())
        wakeup.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno())
        sockets.callback(signal.set_wakeup_fd, -1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end their processes themselves
        selector = sockets.enter_context(selectors.DefaultSelector())
        selector.register(requests, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        channels: dict[int, socket.socket] = {}
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if ended in ready:
                ended.recv(4096)
                report_ends(channels)
            if requests in ready:
                request = receive(requests)
                if (pid := os.fork()) == 0:
                    for channel in channels.values():
                        channel.close()
                    return request
                channels[pid] = request.channel
                report(request.channel, pid)
                for file in request.files:
                    os.close(file)


def receive(requests: socket.socket) -> Request:
    """Receive a request.

    Raises:
        SystemExit: None will follow.
    """
    message, files, _, _ = socket.recv_fds(requests, 1, STANDARD_FILES + 1)
    if not message:
        sys.exit()
    return Request(socket.socket(fileno=files.pop()), files)


def report_ends(channels: dict[int, socket.socket]) -> None:
    """Report which of the processes have ended."""
    while channels:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with channels.pop(pid) as channel:
            report(channel, os.waitstatus_to_exitcode(status))


def report(channel: socket.socket, number: int) -> None:
    """Send a line; its reader may have ended."""
    with suppress(OSError):
        channel.sendall(b"%d\n" % number)


def become(request: Request) -> None:
    """Make this process what a new interpreter would be."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with request.channel, request.channel.makefile() as lines:
        start = json.loads(lines.readline())
    for number, file in enumerate(request.files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(start["directory"])
    os.environ.clear()
    os.environ.update(start["environment"])
    sys.argv[1:] = start["arguments"]


def end_with(main: Callable[[], None]) -> NoReturn:
    """Run a program, and end as the interpreter does, but without taking it apart.

    That would change every object, and so copy most pages of the memory that was forked.
    """
    code = 0
    try:
        main()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that aren't daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    room, descriptor = sys.argv[1:]
    for module in PRELOADED[room]:
        import_module(module)
    program = import_module(PROGRAMS[room])
    gc.collect()
    gc.freeze()  # otherwise the collections of each process would copy all pages
    become(fork_processes(socket.socket(fileno=int(descriptor))))
    end_with(program.main)
