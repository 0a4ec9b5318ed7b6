"""Opens a published bundle, and prepares images for it the reference way."""

from pathlib import Path

import onnxruntime as ort
from numpy import uint8
from numpy.typing import NDArray

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.graph_contract import parse_graph
from convscope.bundle.layout import MANIFEST, is_version
from convscope.bundle.reader import Bundle, read_bundle
from convscope.bundle.signatures import TrustedSigners
from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.explanations.removal import remove_explanation
from convscope.exporter.graphs.sessions import open_graph
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.v1 import manifest_pb2 as pb

__all__ = ["open_bundle", "open_unexplained", "preprocess"]


def open_bundle(directory: Path, trusted: TrustedSigners | None = None) -> Bundle:
    """Open the bundle of a version's directory.

    Args:
        directory: The directory.
        trusted: One of these must have signed it; None to ignore signatures.

    Raises:
        BundleRejectedError: It is damaged, or not signed by any of them.
        SigningError: A key or certificate can't be read.
        ExporterError: The directory can't be read.
    """
    if inside := next(directory.glob(f"*/*/{MANIFEST}"), None):
        raise ExporterError(
            f"{directory} is a repository; name one of its bundles, such as {inside.parent}"
        )
    versions = [path.parent for path in directory.glob(f"*/{MANIFEST}")]
    if versions := [path for path in versions if is_version(path.name)]:
        latest = max(versions, key=lambda path: int(path.name))
        raise BundleRejectedError("files", f"{MANIFEST} is missing; did you mean {latest}?")
    try:
        return read_bundle(directory.resolve(), trusted)
    except OSError as error:
        raise ExporterError(
            f"{directory} can't be read: {reason(error)}; name a directory like "
            "models/MODEL/VERSION"
        ) from error


def open_unexplained(bundle: Bundle) -> ort.InferenceSession:
    """Open the graph of a bundle without its explanation, which needs a second input.

    Raises:
        BundleRejectedError: The graph is damaged.
        ExporterError: ONNX Runtime can't open it.
    """
    data = bundle.read_graph()
    if bundle.manifest.HasField("explanation"):
        model = parse_graph(data)
        remove_explanation(model)
        data = model.SerializeToString()
    return open_graph(data)


def preprocess(manifest: pb.ModelManifest, encoded: bytes) -> NDArray[uint8]:
    """Prepare an encoded image the reference way; uint8 [height, width, channels]."""
    return ImagePreprocessing.of_manifest(manifest).prepare(encoded)
