"""The entry point `convscope-server`: reads the settings, then serves."""

import gc
import os
import signal
import sys
import threading

INSTALL = (
    "convscope-server needs more than the client; "
    "in a clone of the repository, run: pip install '.[server]'"
)


def main() -> None:
    """Serve until stopped; exit with 1 if the server can't start, and with 2 for a wrong flag."""
    if sys.argv[1:2] == ["token"]:
        make_token()
        return
    # Before a library has threads: the C library then has as many heaps as it wants.
    from convscope.server.process.memory import keep_freed_memory

    keep_freed_memory()
    gc.disable()  # what an import creates stays, and each collection would walk all of it
    try:
        import click  # noqa: F401
        import onnxruntime  # noqa: F401
        import uvloop

        import_structlog()
        from convscope.server.app import serve, serve_with_workers
        from convscope.server.config.command_line import command_line
    except ModuleNotFoundError as error:
        sys.exit(f"{INSTALL} ({error.name} is missing)")

    from convscope.server.config.checks import check_settings
    from convscope.server.config.serialization import from_json
    from convscope.server.config.settings import Settings
    from convscope.server.errors import StartError
    from convscope.server.observability.logs import configure_logs
    from convscope.server.process.ports import check_ports
    from convscope.server.process.startup import check_directory
    from convscope.server.process.supervisor_channel import WORKER_FLAG, SupervisorChannel
    from convscope.server.repository.executor import LOADING
    from convscope.server.runtime.validation.client import BundleValidator

    gc.freeze()
    validator = BundleValidator.forked()  # before there are threads, connections or secrets
    gc.enable()

    def run(settings: Settings) -> None:
        check_settings(settings)
        check_directory(settings.repository)
        check_ports(settings.listeners)
        many = settings.process.workers > 1
        if many:
            validator.close()  # each worker has its own
        uvloop.run(serve_with_workers(settings) if many else serve(settings, None, validator))

    def run_worker(descriptor: int) -> None:
        # Ctrl-C reaches the whole group of processes; the supervisor ends those that wait.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        supervisor = SupervisorChannel(descriptor)
        uvloop.run(serve(from_json(supervisor.receive_settings()), supervisor, validator))

    writer = configure_logs()
    code = 0
    try:
        if sys.argv[1:2] == [WORKER_FLAG]:
            run_worker(int(sys.argv[2]))
        else:
            command_line(run)(prog_name="convscope-server")
    except StartError as error:
        # Through the writer: after the lines before it, and without blocking.
        writer.write(f"convscope-server: {error}\n".encode())
        code = 1
        sys.exit(code)
    finally:
        writer.close()
        if any(thread.name == LOADING for thread in threading.enumerate()):
            os._exit(code)  # a load that doesn't end would crash in the libraries' own cleanup


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
