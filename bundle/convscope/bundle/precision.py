"""The precision of a bundle's graph in one line of plain words."""

from convscope.v1 import manifest_pb2 as pb

__all__ = ["precision_line"]


def precision_line(manifest: pb.ModelManifest) -> str:
    """Return the precision of a graph, and how it was quantized.

    An example is "int8, all but the first 2 of 49 layers, from efficientnet_lite0/1, 100.0% of
    clear results kept".
    """
    name = pb.Precision.Name(manifest.precision).removeprefix("PRECISION_").lower()
    if not manifest.HasField("quantization"):
        return name
    spec = manifest.quantization
    layers = f"all {spec.layers} layers" if spec.layers > 1 else "one layer"
    if spec.fp32_layers:
        layers = f"all but the first {spec.fp32_layers} of {spec.layers} layers"
    figures = {one.name: one.value for one in spec.figures}
    kept = figures.get("top1_kept_where_clear")
    shown = "" if kept is None else f", {kept:.1%} of clear results kept"
    return f"{name}, {layers}, from {manifest.provenance.parent}{shown}"
