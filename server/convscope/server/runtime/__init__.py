"""ONNX Runtime: sessions, execution providers, tuning and loaded versions."""
