"""The Convscope server: bundles behind gRPC, run by ONNX Runtime."""
