"""The settings of a server that is embedded in another program, as this program gives them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from convscope.bundle.suggestions import or_near
from convscope.server.config.flags import FLAGS, PANELS
from convscope.server.config.settings import Settings
from convscope.server.errors import StartError

__all__ = ["embedded_settings", "named_as_settings"]

# Messages name flags, which are the keys of `settings` here.
_FLAG = re.compile(r"--(load|versions|provider|max-memory-mb)\b")
# The first argument of `Client.local`: its value speaks for itself.
_MODELS = re.compile(r"--models (?=\S)")
_PANELS = ("Repository", "ONNX Runtime", "Limits")
_SETTINGS = {flag.name for panel in _PANELS for flag in PANELS[panel]} - {"models"}
_GRACE_SECONDS = 5.0
# The first start of a model isn't delayed by measurements, which only pay for a long run.
_DEFAULTS = {
    "no_tuning": True,
    "no_access_log": True,
    "no_open_inference": True,
    "no_reflection": True,
    "drain_seconds": 0.0,
    "grace_seconds": _GRACE_SECONDS,
}


def embedded_settings(models: str | os.PathLike[str], settings: Mapping[str, Any]) -> Settings:
    """Return all settings of a server.

    Args:
        models: The repository, a directory or a URL.
        settings: Settings of `convscope-server`, by the names of its flags with underscores.

    Raises:
        StartError: A setting is unknown or invalid.
    """
    given = {"models": _expanded(os.fspath(models))}
    return Settings.from_values(_DEFAULTS | _checked(settings) | given)


def named_as_settings(error: StartError) -> StartError:
    """Return an error whose message names settings instead of flags."""
    return StartError(_FLAG.sub(_setting, _MODELS.sub("", str(error))))


def _setting(flag: re.Match[str]) -> str:
    return flag[1].replace("-", "_")


def _expanded(models: str) -> str:
    return str(Path(models).expanduser()) if models.startswith("~") else models


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in the types of their flags."""
    checked = {}
    for name, value in settings.items():
        if name not in _SETTINGS:
            raise StartError(
                f"there is no setting {name!r} of a local server{or_near(name, _SETTINGS)}"
            )
        try:
            checked[name] = FLAGS[name].type.convert(value, None, None)
        except click.BadParameter as error:
            raise StartError(f"the setting {name} is {value!r}: {error.message}") from error
    return checked
