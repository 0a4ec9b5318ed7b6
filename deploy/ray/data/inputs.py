"""The images of a bulk run: files on a disk or behind a URL, or the rows of a Parquet file."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from pyarrow import parquet

from convscope.bundle.addresses import local_path, secrets_of, without_secrets
from convscope.bundle.errors import AddressError
from convscope.bundle.file_systems import open_file_system, reason_without
from convscope.client import InvalidInputError
from convscope.client.cli.runs import check_images
from convscope.client.cli.sources.arguments import ImageArguments
from convscope.client.cli.sources.image_files import has_image_suffix
from convscope.client.cli.sources.source import message_about
from deploy.ray.data.job import INPUT_SCHEMA

__all__ = ["Images", "find_images"]

PARQUET_SUFFIXES = (".parquet", ".pq")
CONTENT_COLUMNS = ("bytes", "image")
# Files of an object store that a task fetches at once: each takes some 50 ms, mostly waiting.
FETCHES = 16
# Each block of the names is a task, and Ray is made for thousands of them, not for millions.
MAX_BLOCKS = 2000

Read = Callable[[Collection[str], int, float], "ray.data.Dataset"]


@dataclass
class Images:
    """The images of a run.

    Args:
        names: The name of each, without duplicates.
        read: Returns a dataset of INPUT_SCHEMA with the images of these names, for batches of so
            many images; each of its tasks takes so many CPUs.
        skipped: How many files are no images, by suffix.
        problems: Messages about what can't be read already.
    """

    names: Sequence[str]
    read: Read
    skipped: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)


def find_images(source: str, name_column: str) -> Images:
    """Find the images that the argument of the command names.

    Args:
        source: A folder, file or pattern, a URL, or a Parquet file at either.
        name_column: The column of a Parquet file with the names.

    Raises:
        InvalidInputError: There are none, or they can't be listed.
        typer.Exit: There are none on the disk; the messages are printed.
    """
    path = local_path(source)
    if PurePath(source).suffix.lower() in PARQUET_SUFFIXES:
        return _from_parquet(source if path is None else str(path), name_column)
    return _from_url(source) if path is None else _from_disk(str(path))


def _from_disk(path: str) -> Images:
    """Find images as `convscope classify --recursive` does, and name them likewise."""
    arguments = ImageArguments([path], recursive=True)
    check_images(arguments, prints_json=False)
    found = list(arguments)
    locations = {
        each.name: _location(each.image)
        for each in found
        if each.error is None and isinstance(each.image, str)
    }
    problems = {each.name: message_about(each, each.error) for each in found if each.error}
    return Images(list(locations), _FileReader(locations), arguments.skipped, problems)


def _from_url(url: str) -> Images:
    system, root = _open(url)
    shown = without_secrets(url)
    try:
        found = system.find(root)
    except Exception as error:  # each file system has its own errors, without a common class
        reason = reason_without(secrets_of(url), error)
        raise InvalidInputError(f"{shown} can't be listed: {reason}") from error
    names, skipped = [], Counter[str]()
    for path in found:
        below = PurePath(path.removeprefix(root))
        if any(part.startswith(".") for part in below.parts):
            continue
        if has_image_suffix(path):
            names.append(system.unstrip_protocol(path))
        else:
            skipped[below.suffix.lower() or "without a suffix"] += 1
    if not names:
        others = f", only {skipped.total():,} other files" if skipped else ""
        raise InvalidInputError(f"there is no image below {shown}{others}; check the address")
    return Images(names, _FileReader({name: _location(name) for name in names}), skipped)


def _from_parquet(location: str, name_column: str) -> Images:
    """Find the images in the rows of a file, or those at the paths and URLs in its rows."""
    system, path = _open(location) if "://" in location else (None, location)
    shown = repr(without_secrets(location)) if system else repr(location)
    try:
        schema = parquet.read_schema(path, filesystem=system)
        content = next((name for name in CONTENT_COLUMNS if _has_bytes(schema, name)), None)
        _check_names(schema, name_column, shown)
        names = parquet.read_table(path, columns=[name_column], filesystem=system)[name_column]
    except (OSError, pa.ArrowException) as error:
        reason = reason_without(secrets_of(location), error)
        raise InvalidInputError(f"{shown} can't be read: {reason}") from error
    if names.null_count or not len(names):
        problem = f"{names.null_count:,} rows without a name" if len(names) else "no row"
        raise InvalidInputError(f"{shown} has {problem} in its column {name_column!r}")
    listed = names.cast(pa.string()).to_pylist()
    unique = list(dict.fromkeys(listed))
    if content is None:
        return Images(unique, _FileReader({name: _location(name) for name in unique}))
    if len(unique) < len(listed):
        twice = next(name for name, count in Counter(listed).items() if count > 1)
        raise InvalidInputError(
            f"{shown} has several rows with the {name_column} {twice!r}; choose a column whose "
            "values differ: --names COLUMN"
        )
    return Images(unique, _RowReader(path, system, name_column, content))


def _has_bytes(schema: pa.Schema, name: str) -> bool:
    """Report whether a column has encoded images, directly or in a field `bytes`."""
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _check_names(schema: pa.Schema, name_column: str, shown: str) -> None:
    if name_column not in schema.names:
        raise InvalidInputError(
            f"{shown} has no column {name_column!r} with the names of the images; it has: "
            f"{', '.join(schema.names)}; choose one: --names COLUMN"
        )


@dataclass(frozen=True)
class _FileReader:
    """Reads files.

    Args:
        locations: The URL or path of each, by name, as bytes: a path may be no text.
    """

    locations: dict[str, bytes]

    def __call__(self, todo: Collection[str], batch_size: int, cpus: float) -> "ray.data.Dataset":
        table = pa.table({"image": list(todo), "location": [self.locations[n] for n in todo]})
        batches = -(-len(todo) // batch_size)
        rows = batch_size * -(-batches // MAX_BLOCKS)
        blocks = [table.slice(start, rows) for start in range(0, len(todo), rows)]
        return ray.data.from_arrow(blocks).map_batches(
            _read_files, batch_format="pyarrow", batch_size=batch_size, num_cpus=cpus
        )


def _read_files(batch: pa.Table) -> pa.Table:
    """Read the files of a batch, several at once."""
    with ThreadPoolExecutor(FETCHES) as pool:
        read = list(pool.map(_read_file, batch["location"].to_pylist()))
    contents, errors = zip(*read, strict=True)
    columns = [batch["image"], pa.array(contents, pa.binary()), pa.array(errors, pa.string())]
    return pa.Table.from_arrays(columns, schema=INPUT_SCHEMA)


def _read_file(location: bytes) -> tuple[bytes | None, str | None]:
    """Return the content of a file, or the reason why it can't be read."""
    name = os.fsdecode(location)
    try:
        if "://" not in name:
            return Path(name).read_bytes(), None
        system, path = _open(name)
        return bytes(system.cat_file(path)), None
    except FileNotFoundError:
        return None, "there is no such file; check the path"
    except OSError as error:
        return None, f"it can't be read: {error.strerror or error}"
    except Exception as error:  # noqa: BLE001 - each file system has its own errors
        return None, f"it can't be read: {reason_without(secrets_of(name), error)}"


@dataclass(frozen=True)
class _RowReader:
    """Reads the rows of a Parquet file.

    Args:
        path: The file.
        system: The file system of a URL; None for the disk.
        names: The column with the names.
        content: The column with the images.
    """

    path: str
    system: Any
    names: str
    content: str

    def __call__(self, todo: Collection[str], batch_size: int, cpus: float) -> "ray.data.Dataset":
        path = self.path if self.system else str(Path(self.path).absolute())
        rows = ray.data.read_parquet(
            path,
            filesystem=self.system,
            columns=[self.names, self.content],
            num_cpus=cpus,
        )
        wanted = ray.put(frozenset(todo))
        return rows.map_batches(
            _select_rows,
            batch_format="pyarrow",
            batch_size=batch_size,
            num_cpus=cpus,
            fn_args=(self.names, self.content, [wanted]),  # in a list, so that it stays a reference
        )


def _select_rows(
    batch: pa.Table, names: str, content: str, wanted: Iterable["ray.ObjectRef"]
) -> pa.Table:
    """Return the rows that are wanted, with the columns of INPUT_SCHEMA."""
    (todo,) = ray.get(list(wanted))
    images = batch[names].cast(pa.string())
    is_wanted = pa.array([name in todo for name in images.to_pylist()], pa.bool_())
    column = batch[content]
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    errors = pc.if_else(column.is_null(), f"its row has no {content}", pa.scalar(None, pa.string()))
    columns = [images, column.cast(pa.binary()), errors]
    return pa.Table.from_arrays(columns, schema=INPUT_SCHEMA).filter(is_wanted)


def _open(url: str) -> tuple[Any, str]:
    try:
        return open_file_system(url)
    except AddressError as error:
        raise InvalidInputError(str(error)) from error


def _location(path: str) -> bytes:
    return os.fsencode(path if "://" in path else str(Path(path).expanduser().absolute()))
