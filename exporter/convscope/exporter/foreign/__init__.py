"""ONNX graphs that nobody here wrote, brought to the graph contract."""
