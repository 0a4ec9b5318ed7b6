"""Reads arrays from golden.npz, each only after its size and its type are known.

An archive of a few megabytes can inflate to gigabytes, and the header of an array can state
any shape. So only the arrays that the manifest calls for are read, what an array takes is
compared with what its header states before anything is inflated, and all arrays together
have a limit.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.layout import GOLDEN

__all__ = ["MAX_GOLDEN_BYTES", "GoldenArchive", "StoredArray"]

# Of all arrays together, after they are inflated.
MAX_GOLDEN_BYTES = 256 * 2**20
# The directory of an archive takes memory for each entry.
_MAX_DIRECTORY_BYTES = 4 * 2**20
_END_OF_DIRECTORY, _END_BYTES, _MAX_COMMENT_BYTES = b"PK\x05\x06", 22, 2**16
_LOCATOR, _LOCATOR_BYTES = b"PK\x06\x07", 20
_VERSION_1, _VERSION_2 = (1, 0), (2, 0)

# What zipfile and numpy raise for bytes that hold no plain arrays.
_UNREADABLE = (
    BadZipFile,
    EOFError,
    NotImplementedError,  # a compression that Python doesn't know
    OSError,
    OverflowError,
    RecursionError,  # a header that is nested too deeply
    RuntimeError,  # an encrypted member
    TypeError,
    ValueError,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array whose header has been read.

    Args:
        dtype: Its type.
        shape: Its shape.
        fortran_order: Whether its first index varies fastest.
        source: Its bytes.
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran_order: bool
    source: IO[bytes]

    @property
    def size_bytes(self) -> int:
        """The bytes that its type and shape call for."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> NDArray[np.generic]:
        """Read its values."""
        data = bytearray(self.size_bytes)
        view = memoryview(data)
        while view:  # in parts, because a member ends early if its stated size is wrong
            part = self.source.read(min(len(view), 2**20))
            if not part:
                raise EOFError
            view[: len(part)] = part
            view = view[len(part) :]
        array = np.frombuffer(data, self.dtype)
        return array.reshape(self.shape, order="F" if self.fortran_order else "C")


class GoldenArchive:
    """The arrays of a golden file.

    Args:
        data: The bytes of golden.npz.

    Raises:
        BundleRejectedError: They aren't an archive.
    """

    def __init__(self, data: bytes) -> None:
        with _explained():
            _check_directory(data)
            self._archive = ZipFile(BytesIO(data))
            self._members = {info.filename: info for info in self._archive.infolist()}
            if not all(name.endswith(".npy") for name in self._members):
                raise ValueError
        self._left_bytes = MAX_GOLDEN_BYTES

    @contextmanager
    def open(self, name: str) -> Iterator[StoredArray]:
        """Read the header of an array.

        Raises:
            BundleRejectedError: The archive lacks the array, it isn't a plain one, or it
                exceeds the limit.
        """
        member = self._members.get(f"{name}.npy")
        if member is None:
            raise BundleRejectedError(
                "golden",
                f"{GOLDEN} lacks {name!r}; the manifest calls for an array for each input and "
                "output; export the bundle again",
            )
        self._left_bytes -= member.file_size
        if self._left_bytes < 0:
            raise BundleRejectedError(
                "golden",
                f"{GOLDEN} has {name!r} with {member.file_size:,} bytes; all arrays together "
                f"may have {MAX_GOLDEN_BYTES:,}",
            )
        with _explained():
            # The other compressions have no bound on the memory that they take.
            if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise NotImplementedError
            with self._archive.open(member) as source:
                stored = _read_header(source)
                if stored.size_bytes > member.file_size:
                    raise ValueError
                yield stored


def _read_header(source: IO[bytes]) -> StoredArray:
    version = npy.read_magic(source)
    if version not in (_VERSION_1, _VERSION_2):  # later ones are for names of structured types
        raise ValueError
    read = npy.read_array_header_1_0 if version == _VERSION_1 else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(source)
    if dtype.hasobject or dtype.itemsize == 0 or any(size < 0 for size in shape):
        raise ValueError
    return StoredArray(dtype, shape, fortran_order, source)


def _check_directory(data: bytes) -> None:
    """Check the stated size of the archive's directory, which zipfile reads as a whole."""
    at = data.rfind(_END_OF_DIRECTORY, max(0, len(data) - _END_BYTES - _MAX_COMMENT_BYTES))
    if at < 0 or len(data) < at + _END_BYTES:
        raise BadZipFile
    size = int.from_bytes(data[at + 12 : at + 16], "little")
    # Large archives have a second record, which states a size of its own.
    is_large = data[max(0, at - _LOCATOR_BYTES) : at].startswith(_LOCATOR)
    if size > _MAX_DIRECTORY_BYTES or is_large:
        raise BadZipFile


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise BundleRejectedError(
            "golden", f"{GOLDEN} can't be read as arrays; export the bundle again"
        ) from error
