"""What access control decides by the head of a call."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.access import Metadata, PolicyFile

from convscope.server.errors import PermissionDeniedError, UnauthenticatedError
from convscope.server.frontend.access.control import AccessControl
from convscope.server.frontend.access.credentials import Credential, hash_token, identities
from convscope.server.frontend.access.methods import GROUPS

NEW = [f"sha256:{'0a' * 32}"]
CLASSIFY = "/convscope.v1.ClassifierService/Classify"


class Peer:
    """A client with a certificate."""

    peer = "ipv4:192.0.2.1:4000"

    def __init__(self, **auth_context: bytes) -> None:
        self.auth_context = {key: [value] for key, value in auth_context.items()}


def credential(metadata: Metadata) -> Credential:
    ((_, value),) = metadata
    assert isinstance(value, str)
    return Credential(value)


@pytest.mark.parametrize("health", ["open", "callers"])
def test_health(tmp_path: Path, health: str) -> None:
    policy = PolicyFile(tmp_path, {"web": 'rpcs = ["Classify"]'}, f'health = "{health}"\n')
    denied: list[str] = []
    access = AccessControl(policy.path, on_denied=denied.append)
    web = credential(policy.metadata("web"))
    for path in GROUPS["health"]:
        assert access.admit(path, web, None).caller.name == "web"
        if health == "open":
            caller = access.admit(path, None, None).caller
            assert (caller.name, caller.may_use("tiny")) == ("anonymous", False)
        else:
            with pytest.raises(UnauthenticatedError):
                access.admit(path, None, None)
    assert set(denied) == (set() if health == "open" else {"unauthenticated"})


def test_an_rpc_in_no_group_is_denied_to_everyone(tmp_path: Path) -> None:
    everything = f"rpcs = {sorted(GROUPS)}"
    policy = PolicyFile(tmp_path, {"all": everything})
    denied: list[str] = []
    access = AccessControl(policy.path, on_denied=denied.append)
    for path in ("/convscope.v1.ClassifierService/New", f"{CLASSIFY}/", CLASSIFY.lower()):
        with pytest.raises(PermissionDeniedError):
            access.admit(path, credential(policy.metadata("all")), None)
    assert denied == ["rpc"] * 3


def test_a_reloaded_policy_needs_client_certificates(tmp_path: Path) -> None:
    policy = PolicyFile(tmp_path, {"web": ""})
    loaded: list[tuple[str, bool]] = []
    access = AccessControl(
        policy.path, client_certificates=False, on_reload=lambda *one: loaded.append(one)
    )
    policy.path.write_text('[callers.web]\ncertificates = ["CN:web"]\n')
    access.reload()
    assert loaded == [("policy", False)]
    assert access.admit(CLASSIFY, credential(policy.metadata("web")), None).caller.name == "web"


def test_a_policy_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    """The first half of a policy is valid, too, and has fewer callers."""
    policy = PolicyFile(tmp_path, {"web": "", "ops": ""})
    loaded: list[tuple[str, bool]] = []
    access = AccessControl(policy.path, on_reload=lambda *one: loaded.append(one))
    first, second = policy.path.read_text().split("[callers.ops]")
    policy.path.write_text(first)
    access.reload(force=False)
    policy.path.write_text(f'{first}[callers.ops]{second}[callers.new]\nsubjects = ["cut')
    access.reload(force=False)
    policy.path.write_text(f"{first}[callers.ops]{second}[callers.new]\ntokens = {NEW}\n")
    access.reload(force=False)
    assert loaded == []
    access.reload(force=False)
    access.reload(force=False)
    assert loaded == [("policy", True)]
    assert len(access.policy.callers) == 3


@pytest.mark.parametrize(("callers", "warnings"), [({"web": ""}, 0), ({}, 1)])
def test_the_log_states_what_the_policy_has(
    tmp_path: Path, callers: dict[str, str], warnings: int
) -> None:
    policy = PolicyFile(tmp_path, callers)
    with capture_logs() as log:
        AccessControl(policy.path)
    (line,) = [line for line in log if line["event"] == "policy loaded"]
    assert (line["callers"], line["tokens"], line["health"]) == (len(callers), len(callers), "open")
    assert len([line for line in log if line["log_level"] == "warning"]) == warnings


def test_schemes_and_spaces() -> None:
    assert Credential("Bearer cvs_a").token == "cvs_a"
    assert Credential("bearer  cvs_a ").token == "cvs_a"
    for value in ("", "cvs_a", "Basic cvs_a", "Bearer", "Bearer é", "Bearer " + "a" * 9000):
        assert Credential(value).token == ""
    assert "cvs_a" not in repr(Credential("Bearer cvs_a"))


def test_a_credential_without_a_token_is_no_caller(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'[callers.web]\ntokens = ["{hash_token("")}"]')
    access = AccessControl(path)
    for value in ("", "Basic YTpi", "Bearer"):
        with pytest.raises(UnauthenticatedError, match="another form"):
            access.admit(CLASSIFY, Credential(value), None)


def test_names_of_one_kind_are_no_names_of_another() -> None:
    peer = Peer(peer_uri=b"a", peer_dns=b"b", peer_email=b"c", x509_common_name=b"d")
    assert identities(peer) == ["URI:a", "DNS:b", "CN:d"]
    assert identities(None) == []
