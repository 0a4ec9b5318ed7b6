"""Transports: the sockets, and HTTP/2 on them."""
