"""A check, before anything is loaded, that the repository exists."""

from convscope.bundle.addresses import local_path
from convscope.server.errors import StartError
from convscope.server.repository.settings import RepositorySettings

__all__ = ["check_directory"]


def check_directory(settings: RepositorySettings) -> None:
    """Check that a repository on this machine is a directory.

    Raises:
        StartError: It isn't.
    """
    root = local_path(settings.models)
    if root is not None and not root.is_dir():
        raise StartError(
            f"--models {root} is not a directory; create it, or name the one that has "
            "MODEL/VERSION/manifest.json"
        )
