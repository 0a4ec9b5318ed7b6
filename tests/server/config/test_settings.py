"""Flags, environment, and what the server refuses to start with."""

import dataclasses
import os
from pathlib import Path

import pytest
import typer
from support.calls import LOOPBACK, connected, rejection, run_to_end, signal_request
from support.server import ServerProcess

from convscope.server.config.file import SettingsFile
from convscope.server.config.settings import Settings, split_address

NAMES = [field.name for field in dataclasses.fields(Settings)]


def parse(*flags: str) -> Settings:
    """Parse flags and environment as the program does."""
    cli = typer.Typer(context_settings={"auto_envvar_prefix": "CONVSCOPE"})
    cli.command()(Settings)
    settings = cli(["--models", "repository", *flags], standalone_mode=False)
    assert isinstance(settings, Settings)
    return settings


# Values


def test_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVSCOPE_TUNING_CACHE")
    settings = parse()
    assert settings == Settings(models="repository")
    assert (settings.grpc_address, settings.metrics_address) == ("127.0.0.1:8001", "127.0.0.1:8002")
    assert (settings.max_request_bytes, settings.max_reply_bytes) == (8 * 2**20, 32 * 2**20)
    assert (settings.max_image_pixels, settings.max_image_side) == (16_000_000, 8192)
    assert (settings.max_inputs, settings.max_feature_map_bytes) == (64, 16 * 2**20)
    assert settings.drain_seconds + settings.grace_seconds < 30


def example(name: str) -> tuple[str, object]:
    """A value of a field that isn't its default, as text and as it is parsed."""
    if name == "settings":
        return os.devnull, SettingsFile(Path(os.devnull))
    if name.endswith("_address"):
        return "127.0.0.1:4321", "127.0.0.1:4321"
    if name == "otlp_endpoint":
        return "http://collector:4317", "http://collector:4317"
    default = getattr(Settings(models="repository"), name)
    if isinstance(default, bool):
        return str(not default).lower(), not default
    if name == "versions":
        return "=3,5", "=3,5"
    if name in ("runners", "threads", "max_batch", "cores", "worker_socket", "max_memory_mb"):
        return "4321", 4321
    if name in ("tuning_cache", "repository_cache"):
        return "here/cache", Path("here/cache")
    if isinstance(default, int | float):
        return "4321", type(default)(4321)
    if name in ("tls_certificate", "tls_key"):
        return __file__, Path(__file__)
    return "cuda,cpu", "cuda,cpu"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "models"])
def test_every_setting_has_an_environment_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, value = example(name)
    monkeypatch.setenv(f"CONVSCOPE_{name.upper()}", text)
    assert getattr(parse(), name) == value


@pytest.mark.parametrize("name", [name for name in NAMES if name != "models"])
def test_every_setting_has_a_flag(name: str) -> None:
    text, value = example(name)
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        assert getattr(parse(f"--{flag}" if value else f"--no-{flag}"), name) is value
    else:
        assert getattr(parse(f"--{flag}", text), name) == value


def test_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSCOPE_MAX_BATCH", "3")
    assert parse("--max-batch", "5").max_batch == 5


def test_providers_are_separated_by_commas() -> None:
    assert parse("--provider", "cuda, cpu").providers == ["cuda", "cpu"]


def test_no_threads_means_one_a_core() -> None:
    settings = parse()
    assert settings.decode_workers == settings.core_count >= 1
    assert parse("--decode-threads", "2").decode_workers == 2


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:8001", "127.0.0.1", 8001), ("[::1]:0", "[::1]", 0), ("a.b:65535", "a.b", 65535)],
)
def test_address(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)


@pytest.mark.parametrize("address", ["", "8001", ":8001", "host:", "host:-1", "host:65536", "h:x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not HOST:PORT, such as"):
        split_address(address)


def test_environment_reaches_the_server(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSCOPE_MAX_INPUTS", "2")
    with ServerProcess(tiny_repository) as server, connected(server) as stub:
        assert "at most 2 are taken" in rejection(stub.Classify, signal_request(3))[1]


# What the server refuses to start with


def refused_start(*arguments: str | Path) -> str:
    code, out, err = run_to_end(*arguments)
    assert code == 1
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8001", "example.com:0"])
def test_address_beyond_loopback_needs_tls_or_consent(tiny_repository: Path, address: str) -> None:
    message = refused_start("--models", tiny_repository, *LOOPBACK, "--grpc-address", address)
    assert f"{address} can be reached from other machines" in message
    assert "--tls-certificate and --tls-key, or --allow-insecure" in message


def test_address_beyond_loopback_with_consent(tiny_repository: Path) -> None:
    flags = ("--grpc-address", "0.0.0.0:0", "--allow-insecure")
    with ServerProcess(tiny_repository, *flags) as server, connected(server) as stub:
        assert stub.Classify(signal_request(), timeout=30).model == "signal"


def test_missing_repository_is_refused(tmp_path: Path) -> None:
    message = refused_start("--models", tmp_path / "nowhere", *LOOPBACK)
    assert f"--models {tmp_path / 'nowhere'} is not a directory" in message


def test_empty_repository_says_how_to_make_a_model(tmp_path: Path) -> None:
    message = refused_start("--models", tmp_path, *LOOPBACK)
    assert f"--models {tmp_path} holds no model" in message
    assert "convscope-exporter export" in message


@pytest.mark.parametrize("flag", ["--tls-certificate", "--tls-key"])
def test_half_of_a_key_pair_is_refused(tiny_repository: Path, flag: str) -> None:
    message = refused_start("--models", tiny_repository, *LOOPBACK, flag, __file__)
    assert "--tls-certificate and --tls-key go together" in message


def test_port_in_use_is_refused(tiny_repository: Path, tiny_server: ServerProcess) -> None:
    metrics = ("--metrics-address", "127.0.0.1:0")
    taken = ("--grpc-address", tiny_server.target)
    message = refused_start("--models", tiny_repository, *metrics, *taken)
    assert f"--grpc-address {tiny_server.target} can't be bound" in message


def test_metrics_port_in_use_is_refused(tiny_repository: Path, tiny_server: ServerProcess) -> None:
    address = tiny_server.metrics_url.split("/")[2]
    taken = ("--metrics-address", address)
    message = refused_start("--models", tiny_repository, "--grpc-address", "127.0.0.1:0", *taken)
    assert f"--metrics-address {address} can't be used: Address already in use" in message


def test_certificate_that_is_none_is_named(tiny_repository: Path) -> None:
    pair = ("--tls-certificate", __file__, "--tls-key", __file__)
    assert "--tls-certificate" in refused_start("--models", tiny_repository, *LOOPBACK, *pair)


def test_metrics_on_ipv6_loopback(tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository, "--metrics-address", "[::1]:0"):
        pass


WRONG_FLAGS = {
    "unknown": ("--models", "x", "--colour", "red"),
    "missing": (),
    "address": ("--models", "x", "--grpc-address", "here"),
    "range": ("--models", "x", "--max-batch", "0"),
    "type": ("--models", "x", "--max-batch", "many"),
    "no-file": ("--models", "x", "--tls-key", "/nonexistent"),
}


@pytest.mark.parametrize("wrong", WRONG_FLAGS)
def test_wrong_flag_is_a_usage_error(wrong: str) -> None:
    code, _, err = run_to_end(*WRONG_FLAGS[wrong])
    assert code == 2
    assert "Traceback" not in err


def test_help_names_every_flag() -> None:
    code, out, err = run_to_end("--help")
    assert (code, err) == (0, "")
    missing = [name for name in NAMES if f"--{name.replace('_', '-')}" not in out]
    assert missing == ["worker_socket"]  # which only a supervisor sets
