"""`convscope-server`: argv and environment to settings, then serve."""

import sys

INSTALL = "convscope-server needs more than the client; pip install 'convscope[server]'"


def main() -> None:
    """Serve until told to stop; exit with 1 if that can't be, 2 for a wrong flag."""
    try:
        import onnxruntime  # noqa: F401
        import uvloop

        from convscope.server.app import serve
        from convscope.server.process.supervisor import supervise
    except ModuleNotFoundError as error:
        sys.exit(f"{INSTALL} ({error.name} is missing)")

    from convscope.server.config.settings import Settings, command_line
    from convscope.server.errors import StartError
    from convscope.server.observability.logs import configure_logs

    def run(settings: Settings) -> None:
        configure_logs()
        try:
            uvloop.run(supervise(settings) if settings.workers > 1 else serve(settings))
        except StartError as error:
            sys.exit(f"convscope-server: {error}")

    command_line(run)(prog_name="convscope-server")


if __name__ == "__main__":
    main()
