"""The files of a bundle, as the library model-signing hashes them.

By default the library reads the files from disk. Here it receives the hashes that
the bundle is loaded by, so no file can change between the check and the load.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from model_signing import hashing, manifest

# No public name has the class.
from model_signing._hashing.hashing import Digest

from convscope.bundle.layout import SIGNATURE

__all__ = ["SignedFiles"]

# Other tools read from this how to hash the directory. Git's files are the library's default.
_SERIALIZATION = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore"],
}


class SignedFiles(hashing.Config):
    """Returns known hashes instead of reading files.

    Args:
        digests: The SHA-256 of each file, by its name.
        model: The model's name in the signature.
    """

    def __init__(self, digests: Mapping[str, str], model: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call] # it has no annotation
        self._digests = digests
        self._model = model
        self.was_compared = False

    def hash(
        self,
        model_path: hashing.PathLike,
        *,
        files_to_hash: Iterable[hashing.PathLike] | None = None,
    ) -> manifest.Manifest:
        """Return the hashes; the library calls this when a signature itself is valid."""
        self.was_compared = True
        serialization = manifest.SerializationType.from_args(_SERIALIZATION)
        items = [
            serialization.new_item(
                str(PurePosixPath(name)), Digest("sha256", bytes.fromhex(digest))
            )
            for name, digest in self._digests.items()
        ]
        return manifest.Manifest(self._model, items, serialization)
