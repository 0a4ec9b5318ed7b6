"""The images of a load, which are held in memory."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from convscope.client.cli.load import LoadImage
from convscope.client.cli.sources.downloads import with_downloads
from convscope.client.cli.sources.source import Source, message_about, name_in_messages
from convscope.client.errors import InvalidInputError

__all__ = ["read_images"]

MAX_BYTES = 2**30


def read_images(sources: Iterable[Source], timeout_seconds: float) -> list[LoadImage]:
    """Return the content of each image.

    Raises:
        ConvscopeError: One can't be read, or they are too large together.
    """
    images, size = [], 0
    with closing(with_downloads(sources, timeout_seconds)) as found:
        for source in found:
            images.append(LoadImage(name_in_messages(source), _read(source)))
            size += len(images[-1].content)
            if size > MAX_BYTES:
                raise InvalidInputError(
                    f"the images have more than {MAX_BYTES // 2**30} GiB, and a load is held in "
                    "memory; name fewer"
                )
    return images


def _read(source: Source) -> bytes:
    if source.error is not None:
        raise InvalidInputError(message_about(source, source.error), source.error.code)
    if isinstance(source.image, bytes):
        return source.image
    try:
        return Path(source.image or "").read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{source.name} can't be read: {error.strerror}") from error
