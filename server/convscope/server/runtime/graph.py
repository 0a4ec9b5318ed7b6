"""Cuts a graph down to the outputs that a session needs."""

import onnx

from convscope.v1 import manifest_pb2 as pb

__all__ = ["without_feature_maps"]


def without_feature_maps(model: onnx.ModelProto, manifest: pb.ModelManifest) -> bytes:
    """Serialize a graph without its feature-map outputs, so that nothing is computed for them."""
    names = {spec.name for spec in manifest.feature_maps}
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    kept = [value for value in plain.graph.output if value.name not in names]
    del plain.graph.output[:]
    plain.graph.output.extend(kept)
    return plain.SerializeToString()
