"""The client of the admin service, for operators."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from convscope.client._connection.blocking_connection import BlockingConnection
from convscope.client._connection.options import ConnectionOptions
from convscope.client._connection.tokens import Token
from convscope.client._results.names import Aliases
from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

__all__ = ["AdminClient", "ModelStatus", "TrafficSplit", "VersionStatus"]

_STATES = {
    pb.VERSION_STATE_READY: "ready",
    pb.VERSION_STATE_DORMANT: "dormant",
    pb.VERSION_STATE_REFUSED: "refused",
}
_KINDS = {"canary": pb.TRIAL_KIND_CANARY, "shadow": pb.TRIAL_KIND_SHADOW}


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The status of one version.

    Args:
        version: Its number.
        state: "ready", "dormant" (unloaded, and loaded on demand) or "refused" (rejected).
        is_default: Whether requests that name neither a version nor an alias go to it.
        provider: If it is ready, the execution provider that runs it.
        reason: If it was rejected, the check that it failed, in one word.
        message: If it was rejected, the error message of that check.
        fallback_from: If it is ready, the preferred provider, if another one
            runs the graph or a part of it; otherwise empty.
        explained: If it is ready, whether its graph computes explanations.

    Example:
        >>> (status,) = admin.status("digits")
        >>> [(one.version, one.state) for one in status.versions]
        [(1, 'ready')]
    """

    version: int
    state: str
    is_default: bool
    provider: str
    reason: str
    message: str
    fallback_from: str = ""
    explained: bool = False


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """A share of a model's requests, and the version that gets it.

    Requests that name a version are not part of it.

    Args:
        to: The version, by its number or by an alias.
        share: The share, from 0 to 1.
        of: The alias whose requests are split; None for the requests that name
            neither an alias nor a version.

    Example:
        >>> TrafficSplit(to=2, share=0.1)
        TrafficSplit(to=2, share=0.1, of=None)
    """

    to: int | str
    share: float
    of: str | None = None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The status of one model.

    Args:
        model: Its name.
        versions: The versions that the server has found, the latest first.
        aliases: The version of each alias.
        canary: The traffic split whose version serves its share, if any.
        shadow: The traffic split whose version gets copies of requests, if any.
        problems: Aliases and traffic splits without effect, what an operator unloaded, and for
            how long a version has been loading.

    Example:
        >>> [status.model for status in admin.status()]
        ['digits', 'efficientnet_lite0']
    """

    model: str
    versions: tuple[VersionStatus, ...]
    aliases: Mapping[str, int]
    canary: TrafficSplit | None = None
    shadow: TrafficSplit | None = None
    problems: tuple[str, ...] = ()


class AdminClient(BlockingConnection):
    """Changes which versions a running server serves.

    Args:
        target: The server's --admin-address: unix:PATH or HOST:PORT.
        timeout_seconds: How long one call may take; a load takes seconds.
        token: The token to send with each call, as for `Client`.
        token_file: A file with the token, as for `Client`.

    Raises:
        InvalidInputError: An argument is invalid.

    Example:
        >>> with AdminClient("unix:admin.sock") as admin:
        ...     [status.model for status in admin.status()]
        ['digits', 'efficientnet_lite0']
    """

    _is_admin = True

    def __init__(
        self,
        target: str,
        *,
        timeout_seconds: float = 300.0,
        token: Token | None = None,
        token_file: str | Path | None = None,
    ) -> None:
        options = ConnectionOptions(
            timeout_seconds=timeout_seconds, token=token, token_file=token_file
        )
        self._open(target, options)

    @property
    def _stub(self) -> admin_pb2_grpc.AdminServiceStub:
        kind = admin_pb2_grpc.AdminServiceStub
        stub: admin_pb2_grpc.AdminServiceStub = self._stub_of(self._channel, kind)
        return stub

    def status(self, model: str = "") -> list[ModelStatus]:
        """Return the status of one model, or of all.

        Raises:
            ConvscopeError: The server has no such model, or the call failed.

        Example:
            >>> admin.status("digits")[0].versions[0].provider
            'cpu'
        """
        reply = self._call(self._stub.GetStatus, pb.GetStatusRequest(model=model))
        return [_decode(status) for status in reply.models]

    def load(self, model: str, version: int | None = None) -> ModelStatus:
        """Load the new versions of a model, and retry the rejected ones.

        Args:
            model: The model's name.
            version: A version to load even if the server's policy excludes it.

        Raises:
            FailedPreconditionError: The version, or the latest one, was rejected.
                The message says why. The versions loaded before keep serving.
            ConvscopeError: The server has no such model, or the call failed.

        Example:
            >>> admin.load("digits").versions[0].state
            'ready'
        """
        request = pb.LoadModelRequest(model=model, version=version)
        return _decode(self._call(self._stub.LoadModel, request).status)

    def unload(self, model: str, version: int | None = None) -> ModelStatus:
        """Stop serving a model, or one version of it, until it is loaded again.

        Raises:
            ConvscopeError: The server has no such model or version, or the call failed.

        Example:
            >>> admin.unload("digits").problems
            ('digits is unloaded; ...',)
            >>> admin.load("digits").versions[0].state
            'ready'
        """
        request = pb.UnloadModelRequest(model=model, version=version)
        return _decode(self._call(self._stub.UnloadModel, request).status)

    def set_alias(self, model: str, alias: str, version: int | None) -> ModelStatus:
        """Set an alias to a version, which is loaded first; None removes the alias.

        Raises:
            FailedPreconditionError: The version was rejected; nothing has changed.
            ConvscopeError: The server has no such model or version, or the call failed.

        Example:
            >>> admin.set_alias("digits", "champion", 1).aliases
            {'champion': 1}
            >>> admin.set_alias("digits", "champion", None).aliases
            {}
        """
        request = pb.SetAliasRequest(model=model, alias=alias, version=version)
        return _decode(self._call(self._stub.SetAlias, request).status)

    def set_traffic_split(
        self, model: str, kind: Literal["canary", "shadow"], split: TrafficSplit | None
    ) -> ModelStatus:
        """Send a share of a model's requests to another version; None ends the split.

        A canary serves its share, and the same routing key always gets the same
        version. A shadow gets copies of the requests, and its results are only
        compared: the server's metrics show how often they disagree, and by how
        much.

        Raises:
            FailedPreconditionError: The version was rejected; nothing has changed.
            ConvscopeError: The server has no such model or version, or the call failed.

        Example:
            >>> admin.set_traffic_split("digits", "canary", TrafficSplit(to=1, share=0.1)).canary
            TrafficSplit(to=1, share=0.1, of=None)
            >>> admin.set_traffic_split("digits", "canary", None).canary is None
            True
        """
        request = pb.SetTrialRequest(model=model, kind=_KINDS[kind], trial=_encode(split))
        return _decode(self._call(self._stub.SetTrial, request).status)


def _encode(split: TrafficSplit | None) -> pb.Trial | None:
    if split is None:
        return None
    message = pb.Trial(share=split.share, of_alias=split.of or "")
    if isinstance(split.to, int):
        message.version = split.to
    else:
        message.alias = split.to
    return message


def _decode_split(status: pb.ModelStatus, kind: Literal["canary", "shadow"]) -> TrafficSplit | None:
    if not status.HasField(kind):
        return None
    message = status.canary if kind == "canary" else status.shadow
    to = message.version if message.WhichOneof("to") == "version" else message.alias
    return TrafficSplit(to, message.share, message.of_alias or None)


def _decode(status: pb.ModelStatus) -> ModelStatus:
    versions = tuple(
        VersionStatus(
            version=one.version,
            state=_STATES.get(one.state, "unknown"),
            is_default=one.is_default,
            provider=one.provider,
            reason=one.reason,
            message=one.message,
            fallback_from=one.fallback_from,
            explained=one.explained,
        )
        for one in status.versions
    )
    return ModelStatus(
        status.model,
        versions,
        Aliases(status.aliases),
        _decode_split(status, "canary"),
        _decode_split(status, "shadow"),
        tuple(status.problems),
    )
