"""Names of files as text on a terminal."""

import re

__all__ = ["readable"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def readable(text: str) -> str:
    r"""Return a text on one line: control characters, such as a newline, become \n and so on."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)
