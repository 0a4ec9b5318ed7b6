"""The Convscope exporter: PyTorch networks become verified ONNX bundles."""
