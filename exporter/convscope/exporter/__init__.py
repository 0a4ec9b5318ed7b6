"""The Convscope exporter: turns PyTorch networks into verified ONNX bundles."""

import os

# ONNX Runtime's wheels send telemetry to Microsoft unless this is set before they
# are imported. Set it to 0 to allow it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
