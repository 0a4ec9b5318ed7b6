"""Runs the fork server as a new process: python -m convscope.server.runtime.validation SOCKET."""

import sys

from convscope.server.runtime.validation.fork_server import run_fork_server

if __name__ == "__main__":
    run_fork_server(int(sys.argv[1]))
