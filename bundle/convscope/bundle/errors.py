"""The errors of this room. They are plain exceptions: callers map them to their own.

BundleError
├── BundleRejectedError   a bundle is damaged or contradicts itself
├── InvalidValueError     a name, version, share or label file isn't allowed
├── UnknownNameError      no such model, version or alias
├── PublishError          a version can't be added to a repository
├── SigningError          a key or certificate can't be used, or the library isn't installed
└── RepositoryError       a repository can't be read or changed
    └── AddressError      a URL that can't be a repository

Their messages name the value, what is allowed and the fix, and never a secret of a URL.
"""

__all__ = [
    "AddressError",
    "BundleError",
    "BundleRejectedError",
    "InvalidValueError",
    "PublishError",
    "RepositoryError",
    "SigningError",
    "UnknownNameError",
    "abridged",
    "reason_of",
]

_MAX_REASON_CHARACTERS = 300
_MAX_BEGINNING, _MAX_END = 400, 200  # of a message, in characters


class BundleError(Exception):
    """Base of every error of this room."""


class BundleRejectedError(BundleError):
    """A bundle is damaged, or contradicts itself.

    Args:
        reason: The check that failed, one short word: "files", "manifest", "hash",
            "signature", "graph" or "golden".
        message: What is wrong with which part.
    """

    def __init__(self, reason: str, message: str) -> None:
        message = abridged(message)
        super().__init__(message)
        self.reason = reason
        self.message = message


class InvalidValueError(BundleError):
    """A name, version, share or label file isn't allowed."""


class UnknownNameError(BundleError):
    """A model, version or alias doesn't exist."""


class PublishError(BundleError):
    """A version can't be added to a repository."""


class SigningError(BundleError):
    """A key or certificate can't be used, or the library for signatures isn't installed."""


class RepositoryError(BundleError):
    """A repository can't be read or changed."""


class AddressError(RepositoryError):
    """A URL can't be used as a repository's address."""


def reason_of(error: Exception) -> str:
    """Return what an error says in one short line, without the path it concerns."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0][:_MAX_REASON_CHARACTERS]


def abridged(message: str) -> str:
    """Return a message without its middle if it is long: names in a bundle can have any length."""
    if len(message) <= _MAX_BEGINNING + _MAX_END:
        return message
    return f"{message[:_MAX_BEGINNING]}…{message[-_MAX_END:]}"
