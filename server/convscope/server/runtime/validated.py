"""The files of a bundle after validation, as the serving process reads them."""

from dataclasses import dataclass
from pathlib import Path

from convscope.bundle.reader import Bundle, read_bundle
from convscope.server.errors import BundleRejectedError, translate_bundle_errors
from convscope.server.runtime.graph import LOGITS, PROBABILITIES, cut
from convscope.v1 import manifest_pb2 as pb

__all__ = ["ValidatedBundle", "plain_graph", "read_validated"]


@dataclass(frozen=True, slots=True)
class ValidatedBundle:
    """A bundle whose files match its manifest.

    Args:
        bundle: The bundle.
        plain_graph: The ONNX graph without feature maps and explanations. For a
            feature extractor, which has no other outputs, the whole graph.
    """

    bundle: Bundle
    plain_graph: bytes


def plain_graph(data: bytes, manifest: pb.ModelManifest) -> bytes:
    """Return the graph of the plain sessions.

    Args:
        data: The bytes of model.onnx, which passed the checks.
        manifest: The manifest.
    """
    if manifest.task != pb.TASK_CLASSIFICATION:
        return data
    return cut(data, manifest.input.name, (LOGITS, PROBABILITIES))


def read_validated(directory: Path, manifest_sha256: str) -> ValidatedBundle:
    """Read the bytes that were validated.

    The manifest is the one that was validated, and it states the hash of every other file.

    Args:
        directory: The version's directory.
        manifest_sha256: The hash of the manifest that was validated.

    Raises:
        BundleRejectedError: The files aren't those that were validated.
        OSError: A file can't be read.
    """
    with translate_bundle_errors():
        bundle = read_bundle(directory)
        if bundle.manifest_sha256 != manifest_sha256:
            raise BundleRejectedError(
                "files", "the manifest changed after it was validated; publish another version"
            )
        return ValidatedBundle(bundle, plain_graph(bundle.read_graph(), bundle.manifest))
