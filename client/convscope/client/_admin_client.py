"""The client of an operator."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import grpc

from convscope.client._channel import check_target, check_timeout
from convscope.client._translate import translate_errors
from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

__all__ = ["AdminClient", "ModelStatus", "Trial", "VersionStatus"]

_STATES = {
    pb.VERSION_STATE_READY: "ready",
    pb.VERSION_STATE_DORMANT: "dormant",
    pb.VERSION_STATE_REFUSED: "refused",
}
_KINDS = {"canary": pb.TRIAL_KIND_CANARY, "shadow": pb.TRIAL_KIND_SHADOW}


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What is known of one version.

    Args:
        version: Its number.
        state: "ready", "dormant" (loaded when it is first asked for) or "refused".
        is_default: Whether a request that names neither version nor alias means it.
        provider: Of a ready one, the execution provider in real use.
        reason: Of a refused one, the check that it failed, in one word.
        message: Of a refused one, what is wrong.
        fallback_from: Of a ready one, the provider that was wanted, if another
            one runs it or a part of it; otherwise empty.
    """

    version: int
    state: str
    is_default: bool
    provider: str
    reason: str
    message: str
    fallback_from: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A share of a model's requests, and where it goes.

    Requests that name a version have no part in it.

    Args:
        to: The version, by its number or by an alias.
        share: From 0 to 1.
        of: The alias whose requests are meant; None for those that name neither
            an alias nor a version.
    """

    to: int | str
    share: float
    of: str | None = None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What is known of one model.

    Args:
        model: Its name.
        versions: Those that the server looked at, the latest first.
        aliases: The version that each alias names.
        canary: The trial whose version answers its share, if there is one.
        shadow: The trial whose version is given copies and compared.
        problems: What its aliases and trials name and can't have.
    """

    model: str
    versions: tuple[VersionStatus, ...]
    aliases: Mapping[str, int]
    canary: Trial | None = None
    shadow: Trial | None = None
    problems: tuple[str, ...] = ()


class AdminClient:
    """Changes what a running server answers with.

    Args:
        target: The server's --admin-address: unix:PATH or HOST:PORT.
        timeout_seconds: How long one call may take; a load takes seconds.

    Raises:
        InvalidInputError: The target or the timeout can't be.
    """

    def __init__(self, target: str, *, timeout_seconds: float = 300.0) -> None:
        self._target = check_target(target)
        self._timeout_seconds = check_timeout(timeout_seconds)
        self._channel = grpc.insecure_channel(target)
        self._stub = admin_pb2_grpc.AdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def status(self, model: str = "") -> list[ModelStatus]:
        """Tell what answers, and why the rest doesn't; of one model, or all.

        Raises:
            ConvscopeError: There is no such model, or the call failed.
        """
        reply = self._call(self._stub.GetStatus, pb.GetStatusRequest(model=model))
        return [_decode(status) for status in reply.models]

    def load(self, model: str, version: int | None = None) -> ModelStatus:
        """Load what is new in a model's directory, and try again what was refused.

        Args:
            model: Which one.
            version: One that is to answer whatever the server's policy says.

        Raises:
            FailedPreconditionError: The version, or the latest, was refused; the
                message says why, and what answered before still does.
            ConvscopeError: There is no such model, or the call failed.
        """
        request = pb.LoadModelRequest(model=model, version=version)
        return _decode(self._call(self._stub.LoadModel, request).status)

    def unload(self, model: str, version: int | None = None) -> ModelStatus:
        """Stop to serve a model, or one version, until it is loaded again.

        Raises:
            ConvscopeError: There is no such model or version, or the call failed.
        """
        request = pb.UnloadModelRequest(model=model, version=version)
        return _decode(self._call(self._stub.UnloadModel, request).status)

    def set_alias(self, model: str, alias: str, version: int | None) -> ModelStatus:
        """Make an alias name a version, which is loaded first; None drops it.

        Raises:
            FailedPreconditionError: The version was refused; nothing has changed.
            ConvscopeError: There is no such model or version, or the call failed.
        """
        request = pb.SetAliasRequest(model=model, alias=alias, version=version)
        return _decode(self._call(self._stub.SetAlias, request).status)

    def set_trial(
        self, model: str, kind: Literal["canary", "shadow"], trial: Trial | None
    ) -> ModelStatus:
        """Send a share of a model's requests to another version; None ends that.

        A canary answers its share, the same key always by the same version. A
        shadow is given copies, answers nobody, and is compared: the server's
        metrics show how often it disagrees, and by how much.

        Raises:
            FailedPreconditionError: The version was refused; nothing has changed.
            ConvscopeError: There is no such model or version, or the call failed.
        """
        request = pb.SetTrialRequest(model=model, kind=_KINDS[kind], trial=_encode(trial))
        return _decode(self._call(self._stub.SetTrial, request).status)

    def _call(self, method: Any, request: Any) -> Any:
        with translate_errors(self._target, self._timeout_seconds):
            return method(request, timeout=self._timeout_seconds)


def _encode(trial: Trial | None) -> pb.Trial | None:
    if trial is None:
        return None
    message = pb.Trial(share=trial.share, of_alias=trial.of or "")
    if isinstance(trial.to, int):
        message.version = trial.to
    else:
        message.alias = trial.to
    return message


def _decode_trial(status: pb.ModelStatus, kind: Literal["canary", "shadow"]) -> Trial | None:
    if not status.HasField(kind):
        return None
    message = status.canary if kind == "canary" else status.shadow
    to = message.version if message.WhichOneof("to") == "version" else message.alias
    return Trial(to, message.share, message.of_alias or None)


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
        )
        for one in status.versions
    )
    return ModelStatus(
        status.model,
        versions,
        dict(status.aliases),
        _decode_trial(status, "canary"),
        _decode_trial(status, "shadow"),
        tuple(status.problems),
    )
