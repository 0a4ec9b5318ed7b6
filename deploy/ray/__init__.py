"""Convscope on Ray."""
