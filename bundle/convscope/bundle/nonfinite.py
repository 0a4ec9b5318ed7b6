"""The inputs for which a model returns NaN or infinity, in one line of plain words."""

from convscope.v1 import manifest_pb2 as pb

__all__ = ["nonfinite_line"]


def nonfinite_line(manifest: pb.ModelManifest) -> str:
    """Return the checked inputs with NaN or infinity; empty if every result is finite.

    An example is "NaN or infinity for a black image, a white image". Bundles of earlier
    releases don't name the inputs.
    """
    if not manifest.nonfinite_results:
        return ""
    return f"NaN or infinity for {', '.join(manifest.nonfinite_inputs) or 'some inputs'}"
