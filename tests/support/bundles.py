"""The checks of the room `bundle`, applied to a whole bundle."""

from pathlib import Path

import onnx

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden import Golden
from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.reader import Bundle, read_bundle


def check_bundle(directory: Path) -> tuple[Bundle, onnx.ModelProto, Golden]:
    """Check the files, the manifest, the graph and the golden file of a bundle."""
    bundle = read_bundle(directory)
    model = parse_graph(bundle.read_graph())
    check_graph(model, bundle.manifest)
    return bundle, model, bundle.read_golden()


def rejection(directory: Path) -> BundleRejectedError:
    """Return why a bundle is rejected.

    Raises:
        LookupError: It is not.
    """
    try:
        check_bundle(directory)
    except BundleRejectedError as error:
        return error
    raise LookupError(f"{directory} passed every check")
