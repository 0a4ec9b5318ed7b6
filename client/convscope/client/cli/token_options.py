"""The token of a command: from a file, or from the environment."""

import os
from pathlib import Path
from typing import Any

__all__ = ["token_options"]

TOKEN_VARIABLE = "CONVSCOPE_TOKEN"


def token_options(token_file: Path | None) -> dict[str, Any]:
    """Return the token as an argument of a client: that of the file, or of the environment."""
    if token_file is not None:
        return {"token_file": token_file}
    return {"token": token} if (token := os.environ.get(TOKEN_VARIABLE)) else {}
