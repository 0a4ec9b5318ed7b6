"""Policy files that are wrong, and what the server reports of them."""

from pathlib import Path

import pytest
from support.access import JWT_TABLE
from support.calls import LOOPBACK, run_to_end

from convscope.server.frontend.access.methods import GROUPS
from convscope.server.frontend.access.policy_file import read_policy
from convscope.server.frontend.access.policy_values import PolicyError

HASH = "sha256:" + "0" * 64
TOKENS = f'tokens = ["{HASH}"]'


def read(folder: Path, text: str) -> str:
    """The message about a policy."""
    path = folder / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        read_policy(path)
    message = str(caught.value)
    assert message.startswith(f"{path}")
    return message.removeprefix(f"{path}").removeprefix(": ")


def test_the_whole_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        f"""
        health = "callers"
        [callers.web]
        {TOKENS}
        models = ["digits", "team-*"]
        rpcs = ["inference", "GetModel"]
        images_per_second = 100
        bytes_per_second = 1e6
        burst_seconds = 2
        concurrent_bytes = 64_000_000
        [callers."ops@example"]
        certificates = ["URI:spiffe://example/ops"]
        [callers.robot]
        subjects = ["robot"]
        {JWT_TABLE}
        leeway_seconds = 0
        """
    )
    policy = read_policy(path)
    web, ops, robot = policy.callers
    assert not policy.health_is_open
    assert web.tokens == [bytes(32)]
    assert web.models == ["digits", "team-*"]
    assert web.paths == GROUPS["inference"] | GROUPS["health"] | {
        "/convscope.v1.ClassifierService/GetModel"
    }
    assert (web.images_per_second, web.bytes_per_second, web.burst_seconds) == (100, 1e6, 2)
    assert web.concurrent_bytes == 64_000_000
    assert ops.paths == GROUPS["inference"] | GROUPS["metadata"] | GROUPS["health"]
    assert (ops.name, ops.models) == ("ops@example", ["*"])
    assert robot.subjects == ("robot",)
    assert policy.jwt is not None
    assert policy.jwt.jwks == str(tmp_path / "keys.json")
    assert (policy.jwt.audience, policy.jwt.leeway_seconds) == (("convscope",), 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[caller.web]", "caller: no key 'caller'; did you mean callers?"),
        ("health = true", 'health is True, and must be "open" or "callers"'),
        ("callers = 1", "callers must be a table, written [callers]"),
        ("[callers.web]", "callers.web has no credentials; add tokens"),
        ("[callers.web]\ntokens = []", "callers.web has no credentials; add tokens"),
        ("[callers.web]\ntoken = 1", "callers.web.token: no key 'token'; did you mean tokens?"),
        (f"[callers.'a b']\n{TOKENS}", "callers.a b: 'a b' can't be a caller's name"),
        (f"[callers.anonymous]\n{TOKENS}", "'anonymous' can't be a caller's name"),
        (
            f"[callers.web]\n{TOKENS}\nrpcs = ['inference', 'Clasify']",
            "callers.web.rpcs[1]: no RPC or group 'Clasify'; did you mean Classify?",
        ),
        (f"[callers.web]\n{TOKENS}\nrpcs = 'admin'", "callers.web.rpcs is 'admin', and must be a"),
        (f"[callers.web]\n{TOKENS}\nmodels = ['A/b']", "callers.web.models[0] is 'A/b', and must"),
        (
            f"[callers.web]\n{TOKENS}\nimages_per_second = 0",
            "callers.web.images_per_second is 0, and must be a number, 0.001 or more",
        ),
        (f"[callers.web]\n{TOKENS}\nbytes_per_second = true", "bytes_per_second is True, and must"),
        (f"[callers.web]\n{TOKENS}\nbytes_per_second = inf", "must be finite; leave it out for no"),
        (f"[callers.web]\n{TOKENS}\nbytes_per_second = nan", "must be a number, 0.001 or more"),
        (f"[callers.web]\n{TOKENS}\nimages_per_second = {10**400}", "must be at most 1e+15"),
        (f"[callers.web]\n{TOKENS}\nimages_per_second = 1e-320", "must be a number, 0.001 or more"),
        (f"[callers.web]\n{TOKENS}\nburst_seconds = 1e-320", "must be a number, 0.001 or more"),
        (f"[callers.web]\n{TOKENS}\nburst_seconds = 1e300", "must be at most 1e+15"),
        (f"[callers.web]\n{TOKENS}\nconcurrent_bytes = 1.5", "must be a whole number, 1 or more"),
        (f"[callers.web]\n{TOKENS}\nconcurrent_bytes = {10**400}", "must be at most 1e+15"),
        (f"{JWT_TABLE}refresh_seconds = {10**400}", "must be at most 1e+15"),
        ("a = " + "[" * 5000, "is not TOML: it is nested too deeply"),
        (
            "[callers.web]\ncertificates = ['ops']",
            "callers.web.certificates[0] is 'ops', and must be a name such as URI:spiffe://a/b",
        ),
        ("[callers.web]\nsubjects = ['a']", "callers.web.subjects needs the table [jwt]"),
        (
            f"[callers.a]\n{TOKENS}\n[callers.b]\n{TOKENS}",
            "callers.b.tokens and callers.a.tokens share an entry",
        ),
        ("[jwt]\nissuer = 'a'", "jwt.audience is missing"),
        (f"{JWT_TABLE}leeway_seconds = -1", "jwt.leeway_seconds is -1, and must be a number, 0 or"),
        (f"{JWT_TABLE}leeway_seconds = 1e4", "must be at most 300"),
        (f"{JWT_TABLE}algorithms = ['none']", "jwt.algorithms: no key 'algorithms'"),
        (
            JWT_TABLE.replace("keys.json", "http://idp.example/keys"),
            "jwt.jwks is 'http://idp.example/keys', and must be a file, or a URL with https://",
        ),
        ("health = ", "is not TOML:"),
    ],
)
def test_wrong_policies(tmp_path: Path, text: str, message: str) -> None:
    assert message in read(tmp_path, text)


@pytest.mark.parametrize("written", ["tokens = ['{}']", "tokens = '{}'", "tokens = [['{}']]"])
def test_a_token_instead_of_its_hash_is_not_repeated(tmp_path: Path, written: str) -> None:
    secret = "cvs_" + "s" * 43
    message = read(tmp_path, "[callers.web]\n" + written.format(secret))
    assert "callers.web.tokens" in message
    assert secret not in message


def test_a_password_in_the_url_of_keys_is_not_repeated(tmp_path: Path) -> None:
    url = "https://user:s3cret@idp.example/keys"
    message = read(tmp_path, JWT_TABLE.replace("keys.json", url))
    assert "jwt.jwks has a name or a password in its URL" in message
    assert "s3cret" not in message


def failed_start(models: Path, *flags: str | Path) -> str:
    code, _, err = run_to_end("--models", models, *LOOPBACK, *flags)
    assert code == 1
    assert "Traceback" not in err
    return err


def test_a_server_does_not_start_with_a_wrong_policy(tiny_repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[callers.web]")
    for workers in ("1", "2"):
        flags = ("--policy", path, "--workers", workers)
        message = failed_start(tiny_repository, *flags)
        assert f"--policy {path}: callers.web has no credentials" in message


def test_certificates_need_an_authority(tiny_repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[callers.web]\ncertificates = ['CN:web']")
    message = failed_start(tiny_repository, "--policy", path)
    assert "by certificates, which needs --tls-client-ca" in message
