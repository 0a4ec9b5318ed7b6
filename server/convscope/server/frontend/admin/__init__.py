"""AdminService: what an operator changes in a running server."""
