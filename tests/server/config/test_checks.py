"""Settings that don't agree with each other, and addresses that can't be bound."""

from pathlib import Path

import pytest
from support.access import PolicyFile
from support.calls import LOOPBACK, connected, run_to_end, signal_request
from support.server import ServerProcess
from support.signing import make_keys

from convscope.server.config.checks import check_settings
from convscope.server.config.settings import Settings
from convscope.server.errors import StartError
from convscope.server.process.ports import check_ports
from convscope.server.repository.settings import RepositorySettings

pytestmark = pytest.mark.one_transport("checks settings")


def failed_start(*arguments: str | Path) -> str:
    """The message of a server that doesn't start."""
    code, out, err = run_to_end(*arguments)
    assert code == 1
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8001", "example.com:0"])
def test_address_beyond_loopback_needs_tls_or_consent(tiny_repository: Path, address: str) -> None:
    message = failed_start("--models", tiny_repository, *LOOPBACK, "--grpc-address", address)
    assert f"{address} can be reached from other machines" in message
    assert "--tls-certificate and --tls-key, or --allow-insecure" in message


def test_address_beyond_loopback_with_consent(tiny_repository: Path) -> None:
    flags = ("--grpc-address", "0.0.0.0:0", "--allow-insecure")
    with ServerProcess(tiny_repository, *flags) as server, connected(server) as stub:
        assert stub.Classify(signal_request(), timeout=30).model == "signal"
        event = "every machine that reaches the address may call every model"
        (line,) = [line for line in server.log if line["event"] == event]
        assert line["level"] == "warning"
        assert line["repair"].startswith("add --policy FILE")


def test_tokens_without_tls_beyond_loopback_are_a_warning(
    tiny_repository: Path, tmp_path: Path
) -> None:
    policy = PolicyFile(tmp_path, {"web": ""})
    flags = ("--grpc-address", "0.0.0.0:0", "--allow-insecure", "--policy", str(policy.path))
    with ServerProcess(tiny_repository, *flags) as server:
        warnings = [line["event"] for line in server.log if line.get("level") == "warning"]
    assert warnings == ["tokens are sent without TLS, and can be read on their way"]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--no-tuning"], "--no-tuning measures nothing"),
        (["--load", "on-demand"], "--load on-demand loads them later; name a provider"),
    ],
)
def test_the_fastest_provider_has_to_be_measured(
    tiny_repository: Path, flags: list[str], reason: str
) -> None:
    message = failed_start("--models", tiny_repository, "--provider", "auto", *flags)
    assert "--provider auto measures" in message
    assert reason in message


def test_client_certificates_need_tls(tiny_repository: Path) -> None:
    message = failed_start("--models", tiny_repository, "--tls-client-ca", __file__)
    assert "--tls-client-ca needs --tls-certificate and --tls-key" in message


@pytest.mark.parametrize("flag", ["--tls-certificate", "--tls-key"])
def test_certificate_and_key_go_together(tiny_repository: Path, flag: str) -> None:
    message = failed_start("--models", tiny_repository, *LOOPBACK, flag, __file__)
    assert "--tls-certificate and --tls-key go together" in message


def test_memory_limit_needs_loading_on_demand(tiny_repository: Path) -> None:
    message = failed_start("--models", tiny_repository, *LOOPBACK, "--max-memory-mb", "9")
    assert "add --load on-demand" in message


def test_missing_repository_is_named(tmp_path: Path) -> None:
    message = failed_start("--models", tmp_path / "nowhere", *LOOPBACK)
    assert f"--models {tmp_path / 'nowhere'} is not a directory" in message


def test_empty_repository_says_how_to_make_a_model(tmp_path: Path) -> None:
    message = failed_start("--models", tmp_path, *LOOPBACK)
    assert f"--models {tmp_path} holds no model" in message
    assert "convscope-exporter export" in message


def test_versions_that_no_model_has_are_named_with_those_that_exist(tiny_repository: Path) -> None:
    message = failed_start("--models", tiny_repository, *LOOPBACK, "--versions", "=9")
    assert f"--versions =9 names no version of --models {tiny_repository}, which has: " in message
    assert "tiny v1" in message
    assert "holds no model" not in message


def test_port_in_use_is_reported_before_anything_loads(
    tiny_repository: Path, tiny_server: ServerProcess
) -> None:
    metrics = ("--metrics-address", "127.0.0.1:0")
    taken = ("--grpc-address", tiny_server.target)
    message = failed_start("--models", tiny_repository, *metrics, *taken)
    port = int(tiny_server.target.rpartition(":")[2])
    assert message == (
        f"error: port {port} is in use, perhaps by another convscope-server; stop it, "
        f"or choose another address: --grpc-address {another('127.0.0.1', port)}\n"
    )


def test_metrics_port_in_use_is_reported_before_anything_loads(
    tiny_repository: Path, tiny_server: ServerProcess
) -> None:
    address = tiny_server.metrics_url.split("/")[2]
    taken = ("--metrics-address", address)
    message = failed_start("--models", tiny_repository, "--grpc-address", "127.0.0.1:0", *taken)
    host, _, port = address.rpartition(":")
    assert f"port {port} is in use" in message
    assert f"--metrics-address {another(host, int(port))}" in message
    assert "model ready" not in message


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_ports_in_use_are_reported_at_once(
    tiny_repository: Path, tiny_server: ServerProcess, workers: str
) -> None:
    addresses = (tiny_server.target, tiny_server.metrics_url.split("/")[2])
    flags = ("--grpc-address", addresses[0], "--metrics-address", addresses[1])
    message = failed_start("--models", tiny_repository, *flags, "--workers", workers)
    first, second = (address.rpartition(":")[2] for address in addresses)
    assert f"ports {first} and {second} are in use" in message
    assert "other addresses: --grpc-address 127.0.0.1:" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("grpc", "metrics"),
    [
        ("127.0.0.1:18999", "127.0.0.1:18999"),
        ("localhost:18999", "127.0.0.1:18999"),
        ("127.0.0.1:18999", "0.0.0.0:18999"),
    ],
)
def test_two_listeners_on_one_port_are_reported_before_anything_loads(
    tiny_repository: Path, grpc: str, metrics: str
) -> None:
    flags = ("--grpc-address", grpc, "--metrics-address", metrics)
    host = metrics.partition(":")[0]
    assert failed_start("--models", tiny_repository, *flags) == (
        f"error: --grpc-address {grpc} and --metrics-address {metrics} have the same "
        f"port; choose another: --metrics-address {host}:19099\n"
    )


def test_one_port_of_two_addresses_is_no_mistake() -> None:
    check_ports({"--grpc-address": "127.0.0.1:18999", "--metrics-address": "127.0.0.2:18999"})
    check_ports({"--grpc-address": "127.0.0.1:0", "--metrics-address": "127.0.0.1:0"})


def test_admin_port_in_use_is_reported(tiny_repository: Path, tiny_server: ServerProcess) -> None:
    taken = ("--admin-address", tiny_server.target)
    message = failed_start("--models", tiny_repository, *LOOPBACK, *taken)
    assert "choose another address: --admin-address 127.0.0.1:" in message


def test_missing_repository_is_reported_before_a_port_in_use(
    tmp_path: Path, tiny_server: ServerProcess
) -> None:
    taken = ("--grpc-address", tiny_server.target)
    message = failed_start("--models", tmp_path / "nowhere", *LOOPBACK, *taken)
    assert message == (
        f"error: --models {tmp_path / 'nowhere'} is not a directory; create it, or name the one "
        "that has MODEL/VERSION/manifest.json\n"
    )


def another(host: str, port: int) -> str:
    return f"{host}:{port + 100 if port + 100 <= 65535 else port - 100}"


def test_wrong_certificate_is_named(tiny_repository: Path) -> None:
    pair = ("--tls-certificate", __file__, "--tls-key", __file__)
    assert "--tls-certificate" in failed_start("--models", tiny_repository, *LOOPBACK, *pair)


def test_metrics_on_ipv6_loopback(tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository, "--metrics-address", "[::1]:0") as server:
        server.metrics_url = server.metrics_url.replace("127.0.0.1", "[::1]")
        assert "convscope_model_info" in server.metrics()


# Signatures


def test_a_requirement_needs_a_signer(tiny_repository: Path) -> None:
    message = failed_start("--models", tiny_repository, *LOOPBACK, "--require-signature")
    assert "--require-signature needs to know whom to trust; add --signature-key" in message


def test_a_signer_without_a_requirement_is_an_error(tiny_repository: Path, tmp_path: Path) -> None:
    key = ("--signature-key", make_keys(tmp_path).public)
    message = failed_start("--models", tiny_repository, *LOOPBACK, *key)
    assert "unsigned versions are loaded too; add --require-signature" in message


def test_an_identity_needs_its_issuer(tiny_repository: Path) -> None:
    flags = ("--require-signature", "--signature-identity", "me@example.com")
    message = failed_start("--models", tiny_repository, *LOOPBACK, *flags)
    assert "--signature-identity and --signature-issuer go together" in message


def test_a_private_key_is_not_a_public_one(tiny_repository: Path, tmp_path: Path) -> None:
    flags = ("--require-signature", "--signature-key", make_keys(tmp_path).private)
    message = failed_start("--models", tiny_repository, *LOOPBACK, *flags)
    assert "--signature-key can't be used: key.key is not a public key in PEM" in message


def test_a_missing_library_for_signatures_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.server.config.checks.has_library", lambda: False)
    repository = RepositorySettings(
        models=str(tmp_path), require_signature=True, signature_key=make_keys(tmp_path).public
    )
    with pytest.raises(StartError, match=r"pip install '\.\[server,signing\]'"):
        check_settings(Settings(repository=repository))
