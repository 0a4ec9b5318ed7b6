"""Measurements of Convscope, and of its peers beside it: `python -m bench`."""
