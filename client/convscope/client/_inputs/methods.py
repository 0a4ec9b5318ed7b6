"""The names of the explanation methods, and their numbers in messages."""

from convscope.v1 import inference_pb2 as pb

__all__ = ["METHODS", "method_name"]

METHODS = {
    "grad-cam": pb.EXPLANATION_METHOD_GRAD_CAM,
    "cam": pb.EXPLANATION_METHOD_CAM,
    "eigen-cam": pb.EXPLANATION_METHOD_EIGEN_CAM,
    "occlusion": pb.EXPLANATION_METHOD_OCCLUSION,
}
_NAMES = {number: name for name, number in METHODS.items()}


def method_name(number: pb.ExplanationMethod.ValueType) -> str:
    """Return the name of a method; a later server may have further ones."""
    return _NAMES.get(number, f"method {number}")
