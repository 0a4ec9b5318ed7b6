"""A directory behind a web server."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@contextmanager
def over_http(directory: Path) -> Iterator[str]:
    """Show a directory as a web server does, and give its URL: a remote repository."""
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
    """Answers without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
