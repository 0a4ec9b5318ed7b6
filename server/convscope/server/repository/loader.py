"""What the repository needs to know of a loaded version, and of the loader that makes one."""

from pathlib import Path
from typing import Any, Protocol, TypeVar

__all__ = ["Loader", "V", "Version"]


class Version(Protocol):
    """A version that passed every gate."""

    @property
    def key(self) -> tuple[str, int]:
        """The model's name and the version's number."""

    @property
    def execution(self) -> Any:
        """How it runs; the loader may run the model's next version in the same way."""

    @property
    def memory_bytes(self) -> int:
        """Roughly how much memory it takes."""

    @property
    def is_outdated(self) -> bool:
        """Whether the same files could now run on a better provider."""


V = TypeVar("V", bound=Version)
V_co = TypeVar("V_co", bound=Version, covariant=True)


class Loader(Protocol[V_co]):
    """Loads versions."""

    def load(self, directory: Path, *, hot: bool, like: Any) -> V_co:
        """Load the version in a directory; called in a thread.

        Args:
            directory: The version's directory.
            hot: Whether the server answers requests meanwhile.
            like: The execution of the model's newest loaded version; None without one.

        Raises:
            BundleRejectedError: The version failed a check.
            ShuttingDownError: The server is stopping.
            OSError: A file can't be read, or the system lacks a resource at the moment.
            MemoryError: The process has no memory left.
        """

    def memory_bytes(self, graph_bytes: int) -> int:
        """Estimate how much memory a version will take.

        Args:
            graph_bytes: The size of its graph's file.
        """
