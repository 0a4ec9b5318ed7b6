"""A web server for a directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@contextmanager
def over_http(directory: Path) -> Iterator[str]:
    """Serve a directory over HTTP as a remote repository and return its URL."""
    handler = partial(QuietHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/"
        finally:
            http.shutdown()
            thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    """A handler without a log."""

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
