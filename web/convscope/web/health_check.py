"""The health check of a container: `python -m convscope.web.health_check HOST:PORT`."""

import sys
from http.client import HTTPConnection, HTTPException

__all__ = ["main"]

TIMEOUT_SECONDS = 5.0


def main(address: str) -> int:
    """Print the reply of /healthz, and return 0 if the process responds."""
    connection = HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        reply = connection.getresponse()
        print(reply.read().decode())
    except (OSError, HTTPException) as error:
        print(f"no reply from {address}: {error}")
        return 1
    return 0 if reply.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
