"""Cuts a graph down to the outputs that a session needs."""

import onnx

from convscope.v1 import manifest_pb2 as pb

__all__ = ["without_feature_maps"]


def without_feature_maps(model: onnx.ModelProto, manifest: pb.ModelManifest) -> bytes:
    """Serialize a graph without its feature-map outputs, so that nothing is computed for them.

    The graph is changed in place: a copy would take as much memory as its weights.
    """
    names = {spec.name for spec in manifest.feature_maps}
    kept = [value for value in model.graph.output if value.name not in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model.SerializeToString()
