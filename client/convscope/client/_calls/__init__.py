"""The clients, and how images become requests and replies become results."""
