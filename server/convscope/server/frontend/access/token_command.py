"""The command `convscope-server token`."""

import sys
from collections.abc import Sequence

from convscope._usage_errors import USAGE_ERROR
from convscope.server.frontend.access.credentials import hash_token, make_token

__all__ = ["COMMAND", "print_token"]

COMMAND = "token"
USAGE = """Usage: convscope-server token

  Make the static token of a caller, and its line for the file of --policy.
  The token is printed once and stored nowhere."""


def print_token(arguments: Sequence[str]) -> None:
    """Print a new token and its hash; the token is stored nowhere."""
    if arguments:
        wanted_help = arguments[0] in ("-h", "--help")
        print(USAGE, file=sys.stdout if wanted_help else sys.stderr)
        sys.exit(0 if wanted_help else USAGE_ERROR)
    token = make_token()
    print(f"The token, shown only once:\n{token}")
    print(f'The line for its caller in the policy:\ntokens = ["{hash_token(token)}"]')
