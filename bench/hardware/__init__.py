"""The check of a machine with a GPU: `scripts/gpu_check.py`."""
