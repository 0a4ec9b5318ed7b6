"""Measurements of Convscope and of other model servers: `python -m bench`."""
