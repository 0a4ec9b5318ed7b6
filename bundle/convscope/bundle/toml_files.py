"""The TOML files that operators write: settings and policies."""

import tomllib
from pathlib import Path
from typing import Any

from convscope.bundle.errors import InvalidValueError, reason_of

__all__ = ["read_toml"]


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InvalidValueError: It can't be read, or isn't TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValueError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:  # neither UTF-8 nor TOML
        raise InvalidValueError(f"{path} is not TOML: {reason_of(error)}") from error
    except RecursionError:
        raise InvalidValueError(f"{path} is not TOML: it is nested too deeply") from None
