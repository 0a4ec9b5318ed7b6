"""Chaos: a server that loses what it needs, while callers go on."""
