"""Finds environment variables that look like a flag's and are none, such as typing errors."""

import re
from collections.abc import Iterable, Iterator

from convscope.bundle.suggestions import or_near
from convscope.server.config.flags import FLAGS

__all__ = ["PREFIX", "unknown_variables"]

PREFIX = "CONVSCOPE"
# Those of the other programs.
_OTHERS = frozenset(
    (
        "ADMIN",
        "ALLOW_INSECURE_TOKEN",
        "CLIENT_CERTIFICATE",
        "CLIENT_KEY",
        "HTTP_ADDRESS",
        "HTTP_TARGET",
        "METRICS",
        "MODELS_DIR",
        "ROOT_CERTIFICATES",
        "SERVER",
        "SERVER_TOKEN_FILE",
        "SETTINGS",
        "SIGNING_PASSWORD",
        "TARGET",
        "TOKEN",
        "TOKEN_FILE",
        "TRAINING_RUN",
        "TRANSPORT",
    )
)
# Kubernetes sets these for each service, such as one with the name "convscope".
_KUBERNETES = re.compile(r"(.*_)?(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP).*)?)")


def unknown_variables(environment: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each variable whose name resembles that of a flag's.

    Args:
        environment: The names of the environment variables.
    """
    known = [flag.name.upper() for flag in FLAGS.values()]
    for variable in sorted(environment):
        prefix, _, name = variable.partition("_")
        if prefix != PREFIX or name in known or name in _OTHERS or _KUBERNETES.fullmatch(name):
            continue
        if near := or_near(name, known):
            suggestion = near.replace("did you mean ", f"did you mean {PREFIX}_")
            yield f"{variable} sets no flag{suggestion.replace(' or ', f' or {PREFIX}_')}"
