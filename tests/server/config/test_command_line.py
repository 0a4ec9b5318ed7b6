"""Flags and environment variables."""

import dataclasses
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.calls import connected, rejection, run_to_end, signal_request
from support.server import ServerProcess

from convscope.server.config.environment import unknown_variables
from convscope.server.config.flags import FLAGS
from convscope.server.config.settings import Settings
from convscope.server.repository.settings import RepositorySettings

Parse = Callable[..., Settings]

DEFAULTS = Settings(repository=RepositorySettings(models="repository"))
# What flags don't set: it comes from the file alone, or from the supervisor of workers.
FILE_ONLY = {"provider_options", "model_providers", "policy_share"} | {
    "overrides",
    "provider_choices",
}


def flat(settings: Settings) -> dict[str, Any]:
    """The fields of all groups."""
    groups = [getattr(settings, field.name) for field in dataclasses.fields(settings)]
    return {f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)}


# The table


def test_every_flag_sets_one_field_and_every_field_has_a_flag() -> None:
    groups = [getattr(DEFAULTS, field.name) for field in dataclasses.fields(DEFAULTS)]
    names = [field.name for group in groups for field in dataclasses.fields(group)]
    assert sorted({*names} - FILE_ONLY) == sorted(FLAGS)
    assert len(names) == len(set(names))


def test_every_flag_is_in_the_help() -> None:
    code, out, err = run_to_end("--help")
    assert (code, err) == (0, "")
    flags = [f"--{name.replace('_', '-')}" for name in FLAGS]
    assert [f for f in [*flags, "--settings", "--version"] if f"  {f}" not in out] == []


def test_version() -> None:
    assert run_to_end("--version") == (0, f"convscope-server {version('convscope')}\n", "")


# Values


def test_defaults_are_the_documented_ones(parse: Parse) -> None:
    settings = parse("--models", "repository")
    assert settings == DEFAULTS
    assert settings.frontend.grpc_address == "127.0.0.1:8001"
    assert settings.telemetry.metrics_address == "127.0.0.1:8002"
    assert settings.frontend.max_request_bytes == 8 * 2**20
    assert settings.frontend.max_reply_bytes == 32 * 2**20
    assert settings.frontend.max_feature_map_bytes == 16 * 2**20
    assert settings.inference.max_image_pixels == 16_000_000
    assert settings.inference.max_image_side == 8192
    assert settings.inference.max_inputs == 64
    assert settings.process.drain_seconds + settings.process.grace_seconds < 30


def example(name: str) -> tuple[str, object]:
    """A value of a field that isn't its default, as text and as it is read."""
    texts = {
        "models": "elsewhere",
        "versions": "=3,5",
        "otlp_endpoint": "http://collector:4317",
        "load": "digits,lenet",
        "provider": "cuda,cpu",
        "transport": "grpc-aio",
        "precision": "bf16",
        "signature_identity": "me@example.com",
        "signature_issuer": "https://issuer.example.com",
    }
    paths = {"tuning_cache": "here/cache", "repository_cache": "here", "tls_key": __file__}
    paths["policy"] = paths["tls_certificate"] = paths["tls_client_ca"] = __file__
    paths["metrics_token_file"] = __file__
    paths |= dict.fromkeys(
        ("signature_key", "signature_authority", "signature_trust_config"), __file__
    )
    if name in texts:
        return texts[name], texts[name]
    if name in paths:
        return paths[name], Path(paths[name])
    if name.endswith("_address"):
        return "127.0.0.1:4321", "127.0.0.1:4321"
    default = flat(DEFAULTS)[name]
    if isinstance(default, bool):
        return "true", True
    return "4321", 4321.0 if isinstance(default, float) else 4321


@pytest.mark.parametrize("name", FLAGS)
def test_every_setting_has_an_environment_variable(
    name: str, parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, value = example(name)
    monkeypatch.setenv("CONVSCOPE_MODELS", "repository")
    monkeypatch.setenv(f"CONVSCOPE_{name.upper()}", text)
    assert flat(parse()) == flat(DEFAULTS) | {name: value}


@pytest.mark.parametrize("name", FLAGS)
def test_every_setting_has_a_flag(name: str, parse: Parse) -> None:
    text, value = example(name)
    flag = [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    assert flat(parse("--models", "repository", *flag)) == flat(DEFAULTS) | {name: value}


def test_flag_overrides_the_environment(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSCOPE_MAX_BATCH", "3")
    assert parse("--models", "m", "--max-batch", "5").runtime.max_batch == 5


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
)
def test_opentelemetrys_own_variables_name_the_collector(
    variable: str, parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://theirs:4317")
    assert parse("--models", "m").telemetry.otlp_endpoint == "http://theirs:4317"
    monkeypatch.setenv("CONVSCOPE_OTLP_ENDPOINT", "http://ours:4317")
    assert parse("--models", "m").telemetry.otlp_endpoint == "http://ours:4317"


def test_providers_are_separated_by_commas(parse: Parse) -> None:
    policies = parse("--models", "m", "--provider", "cuda, cpu").runtime.policies()
    assert policies.of("any").preference == ("cuda", "cpu")


def test_the_default_number_of_decoding_threads_is_one_per_core(parse: Parse) -> None:
    settings = parse("--models", "m", "--cores", "3")
    assert settings.inference.pipeline_limits(settings.runtime.core_count).decode_workers == 3
    settings = parse("--models", "m", "--cores", "3", "--decode-threads", "2")
    assert settings.inference.pipeline_limits(settings.runtime.core_count).decode_workers == 2


def test_each_worker_gets_its_share_of_the_machine(parse: Parse) -> None:
    flags = ("--workers", "2", "--cores", "5", "--max-memory-mb", "300", "--max-queue", "7")
    memory = ("--max-memory-in-flight", "1000001")
    settings = parse("--models", "m", "--load", "on-demand", *flags, *memory)
    worker = settings.for_worker("127.0.0.1:4321")
    assert (worker.process.workers, worker.runtime.cores) == (1, 2)
    assert worker.repository.max_memory_mb == 150
    assert worker.frontend.max_memory_in_flight == 500_000
    assert worker.frontend.grpc_address == "127.0.0.1:4321"
    assert worker.inference == settings.inference


def test_environment_reaches_the_server(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSCOPE_MAX_INPUTS", "2")
    with ServerProcess(tiny_repository) as server, connected(server) as stub:
        assert "at most 2 are accepted" in rejection(stub.Classify, signal_request(3))[1]


WRONG_FLAGS = {
    "unknown": (("--models", "x", "--colour", "red"), "there is no option --colour"),
    "missing": ((), "--models is missing"),
    "address": (
        ("--models", "x", "--grpc-address", "here"),
        "--grpc-address: 'here' is not HOST:PORT, such as 127.0.0.1:8001",
    ),
    "admin": (
        ("--models", "x", "--admin-address", "0.0.0.0:1"),
        "0.0.0.0:1 can be reached from other machines; use unix:PATH or 127.0.0.1:PORT",
    ),
    "range": (
        ("--models", "x", "--max-batch", "0"),
        "--max-batch: 0 is out of range; it must be 1 or more",
    ),
    "type": (("--models", "x", "--max-batch", "many"), "'many' is not a whole number"),
    "no-file": (("--models", "x", "--tls-key", "/nonexistent"), "'/nonexistent' does not exist"),
    "versions": (("--models", "x", "--versions", "last"), "'last' names no versions"),
    "url": (("--models", "x", "--otlp-endpoint", "there"), "'there' is not a URL such as http:"),
}


@pytest.mark.parametrize("wrong", WRONG_FLAGS)
def test_wrong_flag_is_a_usage_error(wrong: str) -> None:
    flags, message = WRONG_FLAGS[wrong]
    code, _, err = run_to_end(*flags)
    assert code == 64
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("names", ["gpu", "cpu, gpu"])
def test_unknown_provider_is_a_wrong_flag(names: str) -> None:
    code, _, err = run_to_end("--models", "m", "--provider", names)
    assert code == 64
    assert (
        "no execution provider 'gpu'; did you mean cuda? the names are: cpu, cuda, tensorrt, "
        "openvino"
    ) in " ".join(err.split())


def test_an_unknown_word_is_named_before_a_missing_flag(tmp_path: Path) -> None:
    code, _, err = run_to_end("tokn")
    assert code == 64
    assert "no command 'tokn'; did you mean token?" in err
    code, _, err = run_to_end(str(tmp_path))
    assert code == 64
    assert f"; did you mean --models {tmp_path}?" in err
    assert "the only command is token" in run_to_end("serve")[2]


def test_variables_that_resemble_a_flags_are_warned_about() -> None:
    names = ["CONVSCOPE_MAX_QUEU", "CONVSCOPE_MAX_QUEUE", "CONVSCOPE_TOKEN", "PATH"]
    names += ["CONVSCOPE_PORT_8001_TCP", "CONVSCOPE_SERVICE_HOST", "CONVSCOPE_MINE"]
    (warning,) = unknown_variables(names)
    assert warning.startswith("CONVSCOPE_MAX_QUEU sets no flag; did you mean CONVSCOPE_MAX_QUEUE")


def test_the_start_warns_about_a_misspelled_variable(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSCOPE_MAX_QUEU", "9")
    with ServerProcess(tiny_repository) as server:
        (line,) = [one for one in server.log if one["event"] == "unknown environment variable"]
    assert "CONVSCOPE_MAX_QUEUE" in line["message"]
