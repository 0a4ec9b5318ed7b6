"""One image of a command."""

import re
from dataclasses import dataclass

from convscope.client.errors import ConvscopeError

__all__ = [
    "INPUT_NAME",
    "STANDARD_INPUT",
    "Source",
    "file_source",
    "message_about",
    "name_in_messages",
    "printable",
]

STANDARD_INPUT = "-"
INPUT_NAME = "standard input"  # in messages
_SURROGATE = re.compile("[\ud800-\udfff]")
# A spreadsheet takes a cell that starts so for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Source:
    """One image of a command, or the reason why there is none.

    Args:
        name: The image's name in all outputs.
        image: Its path or content; None if it is an error, or a URL before the download.
        shown: Its short name in tables: its path below the folder that was given, or the name of
            its file; empty if it has only the name above.
        place: Its path below the folder for its pictures.
        url: Its URL, if it is yet to be downloaded.
        error: Why it can't be classified.
    """

    name: str
    image: str | bytes | None = None
    shown: str = ""
    place: str = "image"
    url: str = ""
    error: ConvscopeError | None = None


def file_source(path: str, *names: str, folder: str = "", place: str = "") -> Source:
    """Return a file as a source; its name opens the same file, and is no formula.

    Args:
        path: Its path.
        names: The parts of its path below the folder that was given.
        folder: The place of that folder.
        place: Its own place, if it is not its path below the folder.
    """
    named = f"./{path}" if path.startswith(_FORMULA_STARTS) else path
    shown = "/".join(names)
    place = place or (f"{folder}/{shown}" if folder else shown)
    return Source(printable(named), path, printable(shown), place or "image")


def message_about(source: Source, error: ConvscopeError) -> str:
    """Return the message of an error with the image's name, which it may have already."""
    if error.message.startswith(INPUT_NAME):
        return error.message
    is_file = source.error is not None or isinstance(source.image, str)
    if is_file and repr(source.image or source.name) in error.message:
        return error.message
    return f"{name_in_messages(source)}: {error.message}"


def name_in_messages(source: Source) -> str:
    """Return the name of an image for a person."""
    return INPUT_NAME if source.name == STANDARD_INPUT else source.name


def printable(path: str) -> str:
    r"""Return a path as valid text: a byte that isn't UTF-8 becomes an escape such as \xff."""
    return _SURROGATE.sub(_escape, path)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
