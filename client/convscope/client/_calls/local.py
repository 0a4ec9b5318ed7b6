"""Clients of models in this process."""

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

from convscope.client._connection.connection import Connection
from convscope.client._connection.options import ConnectionOptions
from convscope.client._inputs.checks import check_name
from convscope.client.errors import FailedPreconditionError, InvalidInputError, NotFoundError

if TYPE_CHECKING:  # at run time, only by a client that needs it
    from convscope.server.local import LocalServer

__all__ = ["LocalClients"]

_INSTALL = (
    "a local client needs the server ({missing} is missing); in a clone of the repository, run: "
    "pip install '.[server]'"
)


class LocalClients(Connection):
    """Makes a client whose models are loaded in its own process."""

    @classmethod
    def local(
        cls,
        models: str | os.PathLike[str],
        *,
        model: str | None = None,
        timeout_seconds: float = 30.0,
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a client of bundles on this machine, without a server.

        The models are loaded in this process, and run in a thread of it, until the client is
        closed. Results are those of a server. Log lines go to the logger "convscope.server" of
        Python's `logging`. It needs the server's packages.

        The bundles are checked as by a server, but without its limits of memory and time: load
        only models that you trust.

        Args:
            models: The repository: a directory with MODEL/VERSION/manifest.json, or its URL.
            model: The model of calls that name none; by default the only one.
            timeout_seconds: How long a call may take.
            settings: Settings of convscope-server, by the names of its flags with underscores,
                such as `{"provider": "cuda", "load": "on-demand"}`. By default, models are not
                measured at load; `{"no_tuning": False}` measures them.

        Raises:
            FailedPreconditionError: No model can be loaded, or a setting is invalid.
            InvalidInputError: An argument has a wrong type.
            NotFoundError: There is no such `model`.
            ModuleNotFoundError: The server's packages are not installed.

        Example:
            >>> with Client.local("models", model="digits") as local:
            ...     print(local.classify("digits/3.png").top.label)
            3
            >>> local
            Client.local('models', model='digits')
        """
        if not isinstance(settings, Mapping | None):
            raise InvalidInputError(
                f'settings is {settings!r}; give a dict, such as {{"provider": "cuda"}}'
            )
        if model is not None:
            check_name("model", model)
        options = ConnectionOptions(timeout_seconds=timeout_seconds, model=model)
        server = _start(models, settings or {})
        client = cls.__new__(cls)
        try:
            _check_model(model, server.models, os.fspath(models))
            client._open(server.target, options)
        except BaseException:
            server.close()
            raise
        client._local_server, client._local_models = server, os.fspath(models)
        return client


def _check_model(model: str | None, known: Sequence[str], repository: str) -> None:
    if model is None or model in known:
        return
    near = " or ".join(map(repr, get_close_matches(model, known)))
    hint = f"did you mean {near}?" if near else f"it has: {', '.join(known)}"
    raise NotFoundError(f"{repository!r} has no model {model!r} that is loaded; {hint}")


def _start(models: str | os.PathLike[str], settings: Mapping[str, Any]) -> "LocalServer":
    try:
        from convscope.server.local import LocalServer, StartError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_INSTALL.format(missing=error.name), name=error.name) from error
    try:
        return LocalServer(models, settings)
    except StartError as error:
        raise FailedPreconditionError(str(error)) from error
