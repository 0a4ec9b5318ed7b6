"""ONNX classifiers from other tools, converted to the graph contract."""
