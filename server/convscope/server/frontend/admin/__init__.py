"""AdminService: an operator changes a running server."""
