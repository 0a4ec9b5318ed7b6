"""Explanations: differentiates an ONNX graph, and adds Grad-CAM as ordinary forward operators.

Nothing here needs PyTorch.
"""
