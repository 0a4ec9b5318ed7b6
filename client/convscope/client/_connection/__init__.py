"""The way to a server: target, TLS, tokens, retries and errors."""
