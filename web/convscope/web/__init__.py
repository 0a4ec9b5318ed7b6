"""The web page and the HTTP API of a Convscope server, one ASGI app in front of gRPC."""
