"""Sockets and messages: transports, services and the accounting around every call."""
