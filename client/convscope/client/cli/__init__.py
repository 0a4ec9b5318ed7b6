"""The `convscope` command: a module for each command, and what they share."""

from convscope.client.cli.main import app

__all__ = ["app"]
