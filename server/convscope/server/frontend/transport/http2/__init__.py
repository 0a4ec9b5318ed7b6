"""gRPC over HTTP/2, on the event loop's sockets: all calls of one iteration at once."""
