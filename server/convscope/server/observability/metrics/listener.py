"""The listener that Prometheus scrapes."""

from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

__all__ = ["MetricsServer"]


class MetricsServer:
    """Answers Prometheus on a listener and a thread of its own, until closed."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        server: WSGIServer
        thread: Thread
        server, thread = start_http_server(port, host.strip("[]"), registry)
        self._server, self._thread = server, thread
        self.port = server.server_port

    def close(self) -> None:
        """Stop to listen."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
