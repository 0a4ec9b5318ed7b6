"""What the shell's completion offers for the values of options."""

from typing import Any

from convscope.client._calls.client import Client
from convscope.client.cli.token_options import token_options
from convscope.client.errors import ConvscopeError

__all__ = ["complete_models"]

TIMEOUT_SECONDS = 0.5


def complete_models(ctx: Any, incomplete: str) -> list[str]:
    """Return the names of the server's models; none if it doesn't answer in half a second."""
    given = ctx.params
    try:
        with Client(
            given.get("server") or "localhost:8001",
            timeout_seconds=TIMEOUT_SECONDS,
            root_certificates=given.get("root_certificates"),
            client_certificate=given.get("client_certificate"),
            client_key=given.get("client_key"),
            **token_options(given.get("token_file")),
        ) as client:
            names = {summary.model for summary in client.models()}
    except (ConvscopeError, OSError, TypeError):
        return []
    return sorted(name for name in names if name.startswith(incomplete))
