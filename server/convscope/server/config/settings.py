"""The server's settings: the one place that names them, their defaults and their help.

Every field is a flag `--like-this`, an environment variable `CONVSCOPE_LIKE_THIS`
and a key `like_this` of a settings file's [server]; the first that is there counts.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import urlsplit

import typer

from convscope.server.config.file import SettingsFile, SettingsFileError, read_settings_file
from convscope.server.process.machine import available_cores
from convscope.server.repository.selection import Selection, parse_versions

__all__ = ["Settings", "command_line", "is_loopback", "split_address"]

MIB = 2**20
ON_DEMAND = "on-demand"
_REPOSITORY = "Repository"
_LIMITS = "Limits"
_LIFECYCLE = "Lifecycle"
_RUNTIME = "ONNX Runtime"
_LISTENERS = "Listeners"

# The variables follow from the flags, and their names would fill half of the help.
_option = partial(typer.Option, show_envvar=False)


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host stands in brackets.

    Raises:
        typer.BadParameter: It isn't of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"{address!r} is not HOST:PORT, such as 127.0.0.1:8001")
    return host, int(port)


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT can be reached from this machine only."""
    host, _ = split_address(address)
    return host in ("localhost", "[::1]") or host.startswith("127.")


def command_line(run: Callable[["Settings"], None]) -> typer.Typer:
    """Make the command whose flags are the fields of `Settings`, and which then runs."""

    def command(**fields: Any) -> None:
        run(Settings(**fields))

    # typer reads a command's flags from its signature; ours is the dataclass's.
    command.__signature__ = inspect.signature(Settings)  # type: ignore[attr-defined]
    command.__annotations__ = get_type_hints(Settings, include_extras=True)
    cli = typer.Typer(
        add_completion=False,
        context_settings={"auto_envvar_prefix": "CONVSCOPE"},
        pretty_exceptions_enable=False,
    )
    cli.command(help=inspect.getdoc(Settings))(command)
    return cli


def _address(value: str) -> str:
    split_address(value)
    return value


def _admin_address(value: str | None) -> str | None:
    if value is None or value.startswith("unix:"):
        return value
    if not is_loopback(value):
        raise typer.BadParameter(
            f"{value} can be reached from other machines; use unix:PATH or 127.0.0.1:PORT"
        )
    return value


def _otlp_endpoint(value: str | None) -> str | None:
    if not value:
        return None
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise typer.BadParameter(f"{value!r} is not a URL such as http://localhost:4317")
    return value


def _versions(value: str) -> str:
    try:
        parse_versions(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return value


def _read_file(path: str) -> SettingsFile:
    flags = get_type_hints(Settings)
    for name in ("settings", "worker_socket"):
        del flags[name]
    try:
        return read_settings_file(Path(path), flags)
    except SettingsFileError as error:
        raise typer.BadParameter(str(error)) from error


def _use_file(context: typer.Context, file: SettingsFile | None) -> SettingsFile | None:
    """Let the file stand in for what neither a flag nor the environment sets."""
    if file is not None:
        context.default_map = dict(file.server)
    return file


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Serve every model of a repository over gRPC.

    Every flag --like-this can also be the environment variable
    CONVSCOPE_LIKE_THIS, or like_this in the table `server` of the file of --settings.
    """

    models: Annotated[
        str,
        _option(
            metavar="DIR|URL",
            help="The repository, which holds MODEL/VERSION/manifest.json and so on: a directory, "
            "or a URL such as s3://BUCKET/models, gs://… or hf://….",
        ),
    ]
    settings: Annotated[
        SettingsFile | None,
        _option(
            metavar="FILE",
            help="TOML file with flags, and with providers and their options for each model.",
            parser=_read_file,
            callback=_use_file,
            is_eager=True,
        ),
    ] = None
    load: Annotated[
        str,
        _option(
            help="Which models: all, on-demand, or their names, separated by commas.",
            rich_help_panel=_REPOSITORY,
        ),
    ] = "all"
    versions: Annotated[
        str,
        _option(
            metavar="N",
            help="How many of each model's latest versions, or which: =3,5. "
            "What an alias names is loaded too.",
            callback=_versions,
            rich_help_panel=_REPOSITORY,
        ),
    ] = "1"
    max_memory_mb: Annotated[
        int | None,
        _option(
            min=1,
            metavar="N",
            help="With --load on-demand: what wasn't asked for the longest is unloaded above it.",
            rich_help_panel=_REPOSITORY,
        ),
    ] = None
    poll_seconds: Annotated[
        float,
        _option(
            min=0.0,
            metavar="N",
            help="How often to look for new versions and aliases; 0 never.",
            rich_help_panel=_REPOSITORY,
        ),
    ] = 5.0
    repository_cache: Annotated[
        Path,
        _option(
            file_okay=False,
            help="Where what is wanted of a repository behind a URL is kept; servers may share it.",
            rich_help_panel=_REPOSITORY,
        ),
    ] = Path("~/.cache/convscope/repositories")

    grpc_address: Annotated[
        str,
        _option(help="Where gRPC listens.", callback=_address, rich_help_panel=_LISTENERS),
    ] = "127.0.0.1:8001"
    metrics_address: Annotated[
        str,
        _option(
            help="Where Prometheus scrapes /metrics.",
            callback=_address,
            rich_help_panel=_LISTENERS,
        ),
    ] = "127.0.0.1:8002"
    admin_address: Annotated[
        str | None,
        _option(
            help="Where AdminService listens, without any check of who calls: unix:PATH or "
            "a loopback HOST:PORT. Off unless set.",
            callback=_admin_address,
            rich_help_panel=_LISTENERS,
        ),
    ] = None
    otlp_endpoint: Annotated[
        str | None,
        _option(
            envvar=[
                "CONVSCOPE_OTLP_ENDPOINT",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "OTEL_EXPORTER_OTLP_ENDPOINT",
            ],
            metavar="URL",
            help="Where traces are sent, by OTLP over gRPC, such as http://localhost:4317; "
            "also $OTEL_EXPORTER_OTLP_ENDPOINT. Off unless set.",
            callback=_otlp_endpoint,
            rich_help_panel=_LISTENERS,
        ),
    ] = None
    allow_insecure: Annotated[
        bool,
        _option(
            "--allow-insecure",
            help="Listen beyond loopback without TLS.",
            rich_help_panel=_LISTENERS,
        ),
    ] = False
    tls_certificate: Annotated[
        Path | None,
        _option(
            help="PEM file of the certificate chain.",
            exists=True,
            dir_okay=False,
            rich_help_panel=_LISTENERS,
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        _option(
            help="PEM file of the private key.",
            exists=True,
            dir_okay=False,
            rich_help_panel=_LISTENERS,
        ),
    ] = None

    provider: Annotated[
        str,
        _option(
            help="Execution providers in order of preference, separated by commas: "
            "cpu, cuda, tensorrt, openvino. The first must be had, unless --allow-fallback.",
            rich_help_panel=_RUNTIME,
        ),
    ] = "cpu"
    allow_fallback: Annotated[
        bool,
        _option(
            "--allow-fallback",
            help="Let the next provider or the CPU take what one can't run, instead of refusing "
            "the bundle.",
            rich_help_panel=_RUNTIME,
        ),
    ] = False
    runners: Annotated[
        int | None,
        _option(
            min=0,
            metavar="N",
            help="Batches of one model run at once; 0 runs them on the event loop. "
            "Measured at load unless set.",
            rich_help_panel=_RUNTIME,
        ),
    ] = None
    threads: Annotated[
        int | None,
        _option(
            min=1,
            metavar="N",
            help="Threads of one run. Measured at load unless set.",
            rich_help_panel=_RUNTIME,
        ),
    ] = None
    max_batch: Annotated[
        int | None,
        _option(
            min=1,
            metavar="N",
            help="Images of one run. Measured at load unless set.",
            rich_help_panel=_RUNTIME,
        ),
    ] = None
    no_tuning: Annotated[
        bool,
        _option(
            "--no-tuning",
            help="Measure nothing at load: one runner, a thread a core, batches of 8.",
            rich_help_panel=_RUNTIME,
        ),
    ] = False
    tuning_cache: Annotated[
        Path,
        _option(
            dir_okay=False,
            help="Where measurements are kept for the next start.",
            rich_help_panel=_RUNTIME,
        ),
    ] = Path("~/.cache/convscope/tuning.json")
    workers: Annotated[
        int,
        _option(
            min=1,
            metavar="N",
            help="Server processes on the one port, each with its share of the cores.",
            rich_help_panel=_RUNTIME,
        ),
    ] = 1
    cores: Annotated[
        int | None,
        _option(
            min=1,
            metavar="N",
            help="Cores to use; by default all that this process may.",
            rich_help_panel=_RUNTIME,
        ),
    ] = None
    worker_socket: Annotated[int | None, _option(hidden=True)] = None
    preload_feature_maps: Annotated[
        bool,
        _option(
            "--preload-feature-maps",
            help="Make the feature-map session at load instead of at the first request for one.",
            rich_help_panel=_RUNTIME,
        ),
    ] = False

    max_queue: Annotated[
        int,
        _option(
            min=1, metavar="N", help="Images of one model that may wait.", rich_help_panel=_LIMITS
        ),
    ] = 256
    max_delay_seconds: Annotated[
        float,
        _option(
            min=0.0,
            metavar="N",
            help="How long a free runner waits for a fuller batch.",
            rich_help_panel=_LIMITS,
        ),
    ] = 0.0
    max_inputs: Annotated[
        int,
        _option(min=1, metavar="N", help="Inputs of one request.", rich_help_panel=_LIMITS),
    ] = 64
    max_request_bytes: Annotated[
        int,
        _option(min=1024, metavar="N", help="Bytes of one request.", rich_help_panel=_LIMITS),
    ] = 8 * MIB
    max_reply_bytes: Annotated[
        int,
        _option(min=1024, metavar="N", help="Bytes of one reply.", rich_help_panel=_LIMITS),
    ] = 32 * MIB
    max_feature_map_bytes: Annotated[
        int,
        _option(
            min=0, metavar="N", help="Bytes of one reply's feature maps.", rich_help_panel=_LIMITS
        ),
    ] = 16 * MIB
    max_image_pixels: Annotated[
        int, _option(min=1, metavar="N", help="Pixels of one image.", rich_help_panel=_LIMITS)
    ] = 16_000_000
    max_image_side: Annotated[
        int,
        _option(
            min=1, metavar="N", help="Pixels of an image's longer edge.", rich_help_panel=_LIMITS
        ),
    ] = 8192
    decode_threads: Annotated[
        int,
        _option(
            min=0,
            metavar="N",
            help="Images decoded at once; 0 is one a core.",
            rich_help_panel=_LIMITS,
        ),
    ] = 0

    drain_seconds: Annotated[
        float,
        _option(
            min=0.0,
            metavar="N",
            help="On SIGTERM, how long calls are still accepted while health says NOT_SERVING.",
            rich_help_panel=_LIFECYCLE,
        ),
    ] = 3.0
    grace_seconds: Annotated[
        float,
        _option(
            min=0.0,
            metavar="N",
            help="Then, how long the calls in flight may take.",
            rich_help_panel=_LIFECYCLE,
        ),
    ] = 20.0
    no_strict_readiness: Annotated[
        bool,
        _option(
            "--no-strict-readiness",
            help="Let overall health be SERVING although a model of the repository was refused.",
            rich_help_panel=_LIFECYCLE,
        ),
    ] = False
    no_reflection: Annotated[
        bool,
        _option(
            "--no-reflection",
            help="Answer no gRPC reflection.",
            rich_help_panel=_LIFECYCLE,
        ),
    ] = False
    no_open_inference: Annotated[
        bool,
        _option(
            "--no-open-inference",
            help="Answer no calls of the Open Inference Protocol.",
            rich_help_panel=_LIFECYCLE,
        ),
    ] = False
    no_access_log: Annotated[
        bool,
        _option(
            "--no-access-log",
            help="Log no line for each request.",
            rich_help_panel=_LIFECYCLE,
        ),
    ] = False

    @property
    def selection(self) -> Selection:
        """Which versions of which models are to be served."""
        latest, versions = parse_versions(self.versions)
        names = frozenset(name.strip() for name in self.load.split(","))
        by_rule = self.load in ("all", ON_DEMAND)
        return Selection(None if by_rule else names, latest, versions, self.load == ON_DEMAND)

    @property
    def max_memory_bytes(self) -> int | None:
        """What versions that are loaded on demand may take."""
        return None if self.max_memory_mb is None else self.max_memory_mb * MIB

    @property
    def providers(self) -> list[str]:
        """The execution providers, the preferred first."""
        return [name.strip() for name in self.provider.split(",")]

    @property
    def core_count(self) -> int:
        """The cores to use."""
        return self.cores or available_cores()

    @property
    def decode_workers(self) -> int:
        """The images decoded at once."""
        return self.decode_threads or self.core_count
