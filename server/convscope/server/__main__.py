"""The entry point `convscope-server`: reads the settings, then serves.

What is wrong with the flags, the ports, the providers and the repository's directory is reported
before the imports that loading needs, which take most of the start.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.server.config.settings import Settings
    from convscope.server.runtime.validation.client import BundleValidator

# How long a thread waits for another that runs Python. The event loop may wait several times for
# each call, next to threads that decode images or serve the metrics; the default is 5 ms.
SWITCH_SECONDS = 0.5e-3
INSTALL = (
    "convscope-server needs more than the client; "
    "in a clone of the repository, run: pip install '.[server]'"
)
INTERRUPTED = 130


def main() -> None:
    """Serve until stopped; exit with 1 if the server can't start, and with 64 for a wrong flag."""
    if sys.argv[1:2] == ["token"]:
        make_token()
        return
    signal.signal(signal.SIGINT, _interrupt)  # until the server has handlers of its own
    # Before a library has threads: the C library then has as many heaps as it wants.
    from convscope.server.process.memory import keep_freed_memory

    keep_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.disable()  # what an import creates stays, and each collection would walk all of it
    with _explaining_missing():
        from convscope.server.process.worker_flag import WORKER_FLAG

        if sys.argv[1:2] == [WORKER_FLAG]:
            serve_as_worker(int(sys.argv[2]))
            return
        import_structlog()
        from convscope.server.config.command_line import command_line
        from convscope.server.errors import StartError
    try:
        command_line(run)(prog_name="convscope-server")
    except StartError as error:  # before there is a log
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def run(settings: "Settings") -> None:
    """Check the settings, and serve.

    Raises:
        StartError: The server can't start.
    """
    from convscope.server.config.checks import check_flags, check_settings
    from convscope.server.process.directory import check_directory
    from convscope.server.process.ports import check_ports
    from convscope.server.process.unix_sockets import check_unix_sockets

    check_flags(settings)
    check_directory(settings.repository)
    check_ports(settings.listeners)
    check_unix_sockets(settings.frontend.admin_address, settings.process.workers)
    with _explaining_missing():
        from convscope.server.runtime.providers.available import check_available

        check_available(settings.runtime.policies())
    validator = prepare()

    def start() -> Coroutine[Any, Any, None]:
        from convscope.server.app import serve, serve_with_workers

        check_settings(settings)
        if settings.process.workers > 1:
            validator.close()  # each worker has its own
            return serve_with_workers(settings)
        return serve(settings, None, validator)

    serve_with_log(start)


def serve_as_worker(descriptor: int) -> None:
    """Serve as one of several workers, with the settings of their supervisor."""
    validator = prepare()
    # Ctrl-C reaches the whole group of processes; the supervisor ends those that wait.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def start() -> Coroutine[Any, Any, None]:
        from convscope.server.app import serve
        from convscope.server.config.serialization import from_json
        from convscope.server.process.supervisor_channel import SupervisorChannel

        supervisor = SupervisorChannel(descriptor)
        return serve(from_json(supervisor.receive_settings()), supervisor, validator)

    serve_with_log(start)


def prepare() -> "BundleValidator":
    """Import what loading needs, and fork the process that validates bundles."""
    with _explaining_missing():
        import onnxruntime  # noqa: F401

        import_structlog()
        import convscope.server.app  # noqa: F401
        from convscope.server.runtime.validation.client import BundleValidator
    gc.freeze()
    validator = BundleValidator.forked()  # before there are threads, connections or secrets
    gc.enable()
    return validator


def serve_with_log(start: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Serve to the end, and write the log; exit with 1 if the server can't start."""
    import uvloop

    from convscope.server.errors import StartError
    from convscope.server.observability.logs import configure_logs
    from convscope.server.repository.executor import LOADING

    writer = configure_logs()
    code = 0
    try:
        uvloop.run(start())
    except StartError as error:
        # Through the writer: after the lines before it, and without blocking.
        writer.write(f"error: {error}\n".encode())
        code = 1
        sys.exit(code)
    finally:
        writer.close()
        if any(thread.name == LOADING for thread in threading.enumerate()):
            os._exit(code)  # a load that doesn't end would crash in the libraries' own cleanup


def _interrupt(*signal_and_frame: Any) -> None:
    print("convscope-server: interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


@contextmanager
def _explaining_missing() -> Iterator[None]:
    """Exit with how to install what is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        sys.exit(f"{INSTALL} ({error.name} is missing)")


def import_structlog() -> None:
    """Import structlog without rich, whose tracebacks aren't used and take almost 100 modules."""
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        if hidden:
            del sys.modules["rich"]


def make_token() -> None:
    """Print a static token and its line for the policy; it needs no model and no settings."""
    try:
        from convscope.server.frontend.access.token_command import print_token
    except ModuleNotFoundError as error:
        sys.exit(f"{INSTALL} ({error.name} is missing)")
    print_token(sys.argv[2:])


if __name__ == "__main__":
    main()
