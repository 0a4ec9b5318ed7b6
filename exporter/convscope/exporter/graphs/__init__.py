"""ONNX graphs: run them, compare their outputs, infer their shapes and fold their constants."""
