"""Repositories behind a URL: a cache on this machine is kept like them, and served from."""
