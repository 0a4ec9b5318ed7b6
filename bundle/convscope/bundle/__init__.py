"""Bundles and model repositories on disk: read, validate, write, publish, name and split traffic.

The exporter and the server share this room. It needs protobuf, onnx, numpy and
fsspec, and neither torch nor onnxruntime nor grpc.
"""
