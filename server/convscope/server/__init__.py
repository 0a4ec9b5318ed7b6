"""The Convscope server: bundles behind gRPC, run by ONNX Runtime."""

import os

# ONNX Runtime's wheels report their use to Microsoft unless this is set before
# they are imported. Set it to 0 to let them.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
