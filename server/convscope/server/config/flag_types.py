"""The types of flags: how their texts are read and checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from convscope.server.frontend.addresses import is_loopback, split_address
from convscope.server.frontend.settings import TRANSPORTS
from convscope.server.repository.selection import parse_versions
from convscope.server.runtime.providers import AUTO, PRECISIONS, PROVIDERS, unknown_provider

__all__ = [
    "ADDRESS",
    "ADMIN_ADDRESS",
    "BYTES",
    "CACHE_DIRECTORY",
    "CACHE_FILE",
    "NATURAL",
    "NUMBER",
    "PEM_FILE",
    "PEM_FILE_OR_DIRECTORY",
    "POLICY_FILE",
    "POSITIVE_SECONDS",
    "PRECISION",
    "PROVIDER_NAMES",
    "SECONDS",
    "SWITCH",
    "TEXT",
    "TOKEN_FILE",
    "TRANSPORT",
    "URL",
    "VERSIONS",
]


class _Checked(click.ParamType):  # type: ignore[type-arg] # older versions have none
    """A text that a function checks; it raises ValueError."""

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        self.name = name
        self._check = check

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | None:
        """Return the text if it passes the check; an empty one is no value."""
        try:
            self._check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value) or None


def _check_admin_address(address: str) -> None:
    if not address.startswith("unix:") and not is_loopback(address):
        raise ValueError(
            f"{address} can be reached from other machines; use unix:PATH or 127.0.0.1:PORT"
        )


def _check_providers(text: str) -> None:
    if text == AUTO:
        return
    for name in text.split(","):
        if name.strip() == AUTO:
            raise ValueError(f"{AUTO} chooses among all providers; use it alone")
        if name.strip() not in PROVIDERS:
            raise ValueError(unknown_provider(name.strip()))


def _check_url(text: str) -> None:
    url = urlsplit(text)
    if text and (url.scheme not in ("http", "https") or not url.hostname):
        raise ValueError(f"{text!r} is not a URL such as http://localhost:4317")


ADDRESS = _Checked("HOST:PORT", split_address)
ADMIN_ADDRESS = _Checked("address", _check_admin_address)
BYTES = click.IntRange(min=1024)
CACHE_DIRECTORY = click.Path(file_okay=False, path_type=Path)
CACHE_FILE = click.Path(dir_okay=False, path_type=Path)
NATURAL = click.IntRange(min=0)
NUMBER = click.IntRange(min=1)
PEM_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
POLICY_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PEM_FILE_OR_DIRECTORY = click.Path(exists=True, path_type=Path)
POSITIVE_SECONDS = click.FloatRange(min=0.0, min_open=True)
PRECISION = click.Choice(PRECISIONS)
PROVIDER_NAMES = _Checked("text", _check_providers)
SECONDS = click.FloatRange(min=0.0)
SWITCH = click.BOOL
TEXT = click.STRING
TOKEN_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
TRANSPORT = click.Choice(TRANSPORTS)
URL = _Checked("URL", _check_url)
VERSIONS = _Checked("N", parse_versions)
