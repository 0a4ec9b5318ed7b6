"""The images that the arguments of a command name, found one after the other."""

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path, PurePath

import typer

from convscope.client.cli.sources.downloads import MAX_BYTES, is_url, url_source
from convscope.client.cli.sources.image_files import has_image_suffix, is_image_file
from convscope.client.cli.sources.lists import count_names, read_names
from convscope.client.cli.sources.patterns import find_pattern, fixed_folder, is_pattern
from convscope.client.cli.sources.places import path_place, short_places, url_place
from convscope.client.cli.sources.source import (
    INPUT_NAME,
    STANDARD_INPUT,
    Source,
    file_source,
    printable,
)
from convscope.client.cli.sources.walk import Found, walk
from convscope.client.errors import ConvscopeError, InvalidInputError

__all__ = ["ImageArguments"]

MAX_KINDS = 100  # of skipped files


class ImageArguments:
    """The images of a command. Iterating finds them lazily.

    Args:
        images: Files, folders, patterns, URLs, or "-" for the content on standard input.
        recursive: Whether the images of folders are classified.
        list_file: A file with further ones, "-" for standard input.
        null: Whether the names in it end with NUL characters.
        save: The folder for pictures, which are no images of the command.

    Raises:
        typer.BadParameter: The arguments name nothing, or read standard input twice, or from the
            terminal.
    """

    def __init__(
        self,
        images: Sequence[str],
        *,
        recursive: bool = False,
        list_file: Path | None = None,
        null: bool = False,
        save: Path | None = None,
    ) -> None:
        if not images and list_file is None:
            raise typer.BadParameter("name images, folders, patterns or URLs, or add --from-file")
        if null and list_file is None:
            raise typer.BadParameter("-0 describes the list of --from-file; add it")
        if list_file is not None and str(list_file) != STANDARD_INPUT and not list_file.exists():
            raise typer.BadParameter(f"--from-file: there is no file {str(list_file)!r}")
        if [*images, str(list_file)].count(STANDARD_INPUT) > 1:
            raise typer.BadParameter("only one image or list can be read from standard input, -")
        if STANDARD_INPUT in images and sys.stdin.isatty():
            raise typer.BadParameter(
                f"{INPUT_NAME} is the terminal; redirect an image into it: convscope ... - < IMAGE"
            )
        self._images = images
        self._recursive = recursive
        self._list_file = list_file
        self._null = null
        self._save = None if save is None else os.path.realpath(save)
        if self._save is not None and any(
            os.path.realpath(image) == self._save for image in images
        ):
            raise typer.BadParameter(
                f"--save {str(save)!r} is a folder of images; choose another, also inside of it"
            )
        self.skipped: Counter[str] = Counter()  # files that are not images, by suffix

    def __copy__(self) -> "ImageArguments":
        """Return the same images, with a count of skipped files of its own."""
        other = object.__new__(ImageArguments)
        other.__dict__.update(self.__dict__, skipped=Counter())
        return other

    @property
    def is_one_image(self) -> bool:
        """Whether a person may wait for a single image."""
        return len(self._images) == 1 and self._list_file is None and not self._is_open_ended

    def count(self) -> int | None:
        """Return how many images there are; None if only finding all of them would show that."""
        if self._is_open_ended or (self._recursive and self._list_file is not None):
            return None
        if self._list_file is None:
            return len(self._images)
        listed = count_names(self._list_file, null=self._null)
        return None if listed is None else listed + len(self._images)

    def count_by_search(self) -> int | None:
        """Return how many images there are after finding all of them; None for a stream."""
        return None if self._is_stream else sum(1 for _ in copy(self))

    @property
    def _is_stream(self) -> bool:
        """Whether images or names can be read only once."""
        if self._list_file is not None and not self._list_file.is_file():
            return True
        return STANDARD_INPUT in self._images

    def problems(self) -> list[tuple[Source, ConvscopeError]]:
        """Return the errors of all images if each has one, and otherwise nothing.

        It downloads nothing, and leaves standard input unread.
        """
        if self._is_stream:
            return []
        found = []
        for source in copy(self):
            error = source.error or _missing(source)
            if error is None:
                return []
            found.append((source, error))
        return found

    def __iter__(self) -> Iterator[Source]:
        for image in self._images:
            yield from self._from_argument(image)
        if self._list_file is not None:
            yield from self._from_list(self._list_file)

    @property
    def _is_open_ended(self) -> bool:
        paths = [image for image in self._images if image != STANDARD_INPUT and not is_url(image)]
        return any(os.path.isdir(path) or _is_a_pattern(path) for path in paths)  # noqa: PTH112

    def _from_argument(self, image: str) -> Iterator[Source]:
        place = self._places.get(image, "")
        if image == STANDARD_INPUT:
            yield _standard_input()
        elif is_url(image):
            yield url_source(image, place)
        elif _is_a_pattern(image):
            yield from self._from_pattern(os.path.expanduser(image), place)  # noqa: PTH111
        else:
            yield from self._from_path(image, place)

    @cached_property
    def _places(self) -> dict[str, str]:
        """The place of each argument: the shortest that differs from those of the others.

        A place depends neither on the order of the arguments nor on the images in a folder.
        A list may be endless, so with one each place is a whole path.
        """
        full = {image: _place(image) for image in self._images if image != STANDARD_INPUT}
        if self._list_file is not None:
            return full
        if len(full) == 1 and self._is_open_ended:
            return dict.fromkeys(full, "")
        short = short_places(full.values())
        return {image: short[place] for image, place in full.items()}

    def _from_list(self, list_file: Path) -> Iterator[Source]:
        shown = "the list on standard input" if str(list_file) == "-" else f"{str(list_file)!r}"
        is_empty = True
        try:
            for name in read_names(list_file, null=self._null):
                is_empty = False
                if is_url(name):
                    yield url_source(name, url_place(name))
                else:
                    yield from self._from_path(name, path_place(name))
        except InvalidInputError as error:
            yield Source(printable(str(list_file)), error=error)
            return
        if is_empty:
            reason = InvalidInputError(f"{shown} is empty")
            yield Source(printable(str(list_file)), error=reason)

    def _from_path(self, path: str, place: str) -> Iterator[Source]:
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - for a million files
        except (OSError, ValueError):  # reading the file explains it
            is_folder = False
        if "://" in path and not os.path.lexists(path):
            reason = f"{path!r} is no http or https URL"
            yield Source(printable(path), error=InvalidInputError(reason))
        elif not is_folder:
            yield file_source(path, PurePath(path).name, place=place)
        elif not self._recursive:
            reason = f"{path!r} is a folder; add -r to use the images in it"
            yield Source(printable(path), error=InvalidInputError(reason))
        else:
            found = walk(
                path,
                is_hidden=lambda names: names[-1].startswith("."),
                left_out=self._save,
            )
            yield from self._images_of(found, path, place, f"no image in the folder {path!r}")

    def _from_pattern(self, pattern: str, place: str) -> Iterator[Source]:
        found = find_pattern(pattern, self._save)
        yield from self._images_of(found, pattern, place, f"no image matches {pattern!r}")

    def _images_of(
        self, found: Iterable[Found], path: str, folder: str, none: str
    ) -> Iterator[Source]:
        """Yield the images among files, and an error if there are none."""
        is_empty = True
        skipped_before = self.skipped.total()
        for file in found:
            if file.error is not None:
                if has_image_suffix(file.path) or os.path.isdir(file.path):  # noqa: PTH112
                    is_empty = False
                    yield Source(printable(file.path), error=file.error)
            elif is_image_file(file.path):
                is_empty = False
                yield file_source(file.path, *file.names, folder=folder)
            else:
                self._skip(file.path)
        if is_empty:
            others = self.skipped.total() - skipped_before
            files = "file" if others == 1 else "files"
            reason = f"{none}, only {others:,} other {files}" if others else none
            yield Source(printable(path), error=InvalidInputError(reason))

    def _skip(self, path: str) -> None:
        kind = PurePath(path).suffix.lower() or "without a suffix"
        self.skipped[kind if len(self.skipped) < MAX_KINDS else "others"] += 1


def _is_a_pattern(path: str) -> bool:
    """Report whether an argument is a pattern, and not the name of a file."""
    return is_pattern(path) and not os.path.lexists(path)


def _missing(source: Source) -> ConvscopeError | None:
    """Return the error of a file that doesn't exist."""
    if source.url or not isinstance(source.image, str) or os.path.lexists(source.image):
        return None
    return InvalidInputError(f"there is no image {source.image!r}; check the path")


def _place(argument: str) -> str:
    """Return the whole place of a URL, a file or a folder; of a pattern, that of its folder."""
    if is_url(argument):
        return url_place(argument)
    path = os.path.expanduser(argument)  # noqa: PTH111
    if _is_a_pattern(argument):
        path = fixed_folder(path)
    return path_place(os.path.abspath(path))  # noqa: PTH100 - it keeps the names of links


def _standard_input() -> Source:
    content = sys.stdin.buffer.read(MAX_BYTES + 1)
    if not content or len(content) > MAX_BYTES:
        reason = f"has more than {MAX_BYTES // 2**20} MiB" if content else "is empty"
        return Source(STANDARD_INPUT, error=InvalidInputError(f"{INPUT_NAME} {reason}"))
    return Source(STANDARD_INPUT, content, place="stdin")
