"""Errors and `AdminClient`."""

from grpc import StatusCode

from convscope.client import (
    AdminClient,
    Client,
    ConvscopeError,
    DeadlineExceededError,
    FailedPreconditionError,
    Health,
    InternalError,
    InvalidInputError,
    ModelStatus,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    Retries,
    ServerInfo,
    ServerLimits,
    TrafficSplit,
    UnauthenticatedError,
    UnavailableError,
    UnknownNameError,
    VersionStatus,
)


def advice(client: Client) -> str:
    try:
        client.models()
    except (UnavailableError, OverloadedError, DeadlineExceededError) as error:
        code: StatusCode = error.code
        return f"later: {code.name}"
    except (UnauthenticatedError, PermissionDeniedError):
        return "another token"
    except (InvalidInputError, NotFoundError) as error:
        return error.message
    except InternalError as error:
        whole: dict[str, object] = error.to_dict()
        return str(whole)
    except ConvscopeError as error:
        return error.request_id
    return ""


def version_of(admin: AdminClient, alias: str) -> int | str:
    (status,) = admin.status("m")
    try:
        return status.aliases[alias]
    except UnknownNameError as error:
        return str(error)


def server(target: str) -> tuple[Health, str | None, int]:
    retries = Retries(attempts=3, max_seconds=2)
    policy: dict[str, object] = retries.policy()
    print(policy)
    with Client(target, retries=retries, connect_timeout_seconds=2) as client:
        client.wait_ready(30, "m")
        health: Health = client.health()
        info: ServerInfo = client.server_info(timeout_seconds=1)
        limits: ServerLimits = info.limits
        return health, info.version, limits.max_request_bytes


def operate(admin: AdminClient) -> ModelStatus:
    try:
        loaded = admin.load("m", version=2)
    except FailedPreconditionError as error:
        print(error.message)
        loaded = admin.unload("m", 2)
    version: VersionStatus = loaded.versions[0]
    admin.set_traffic_split("m", "canary", TrafficSplit(to=version.version, share=0.1))
    aliases: dict[str, int] = dict(admin.set_alias("m", "champion", version.version).aliases)
    print(aliases)
    (status,) = admin.status("m")
    return status


def main() -> None:
    with AdminClient("unix:admin.sock", token_file="token") as admin:
        print(operate(admin))
    admin.close()
    print(server("localhost:8001"))
