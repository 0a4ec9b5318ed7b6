"""The command line of `convscope-server`: reads flags, environment variables and the file.

A flag overrides an environment variable, which overrides the settings file.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import click
from click.core import ParameterSource

from convscope._help_pages import help_page
from convscope._usage_errors import usage_errors
from convscope.bundle.suggestions import or_near, shown
from convscope.server.config.eager_options import completion_option, version_option
from convscope.server.config.environment import PREFIX
from convscope.server.config.file import SettingsFile, SettingsFileError, read_settings_file
from convscope.server.config.flag_types import SWITCH
from convscope.server.config.flags import FLAGS, PANELS, Flag
from convscope.server.config.settings import Settings

__all__ = ["command_line"]

HELP = """Serve every model of a repository over gRPC.

Every flag --like-this can also be the environment variable
CONVSCOPE_LIKE_THIS, or like_this in the table `server` of the file of --settings.

`convscope-server token` makes the token of a caller, for the file of --policy.

Examples:
  convscope-server --models models
  convscope-server --models s3://BUCKET/models --load efficientnet_lite0,digits
  convscope-server --models models --grpc-address 0.0.0.0:8001 \\
      --tls-certificate server.pem --tls-key server-key.pem --policy policy.toml
  convscope-server --models models --workers 4 --provider cuda
  CONVSCOPE_MODELS=models convscope-server --settings server.toml
  eval "$(convscope-server --show-completion bash)"
"""


def command_line(run: Callable[[Settings], None]) -> click.Command:
    """Return the command that reads the settings and passes them on.

    Args:
        run: Receives the settings.
    """

    def command(settings: SettingsFile | None, **values: Any) -> None:
        if settings is not None:
            values["provider_options"] = settings.provider_options
            values["model_providers"] = settings.model_providers
        run(Settings.from_values(values))

    defaults, types = _fields()
    options = [
        _Option(flag, **{"default": defaults[name]} if name in defaults else {"required": True})
        for name, flag in FLAGS.items()
    ]
    return _Command(
        "convscope-server",
        params=[*options, _settings_option(types), version_option(), completion_option()],
        callback=command,
        help=HELP,
        context_settings={"auto_envvar_prefix": PREFIX, "help_option_names": ["-h", "--help"]},
    )


class _Option(click.Option):
    """The option of one flag."""

    def __init__(self, flag: Flag, **default_or_required: Any) -> None:
        variables = [f"{PREFIX}_{flag.name.upper()}", *flag.variables]
        number = {click.IntRange: "N", click.FloatRange: "NUMBER"}.get(type(flag.type))
        default = default_or_required.get("default")
        super().__init__(
            [f"--{flag.name.replace('_', '-')}"],
            type=flag.type,
            is_flag=flag.type is SWITCH,
            show_default=flag.default or not (default is None or default is False),
            envvar=variables,
            metavar=flag.metavar or number,
            help=flag.help,
            **default_or_required,
        )

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Check a value; the message about one from the file names the file's key."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            if ctx.get_parameter_source(str(self.name)) is not ParameterSource.DEFAULT_MAP:
                raise
            hint = f"{ctx.params['settings']}: server.{self.name}"
            raise click.BadParameter(error.message, ctx, self, hint) from error


class _Command(click.Command):
    """A command whose help has a section for each panel of the table."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        with usage_errors():
            return super().make_context(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the flags; a word without a flag is named before a missing flag is."""
        if args and not args[0].startswith("-"):
            ctx.fail(_unknown_word(args[0]))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Pass the settings on."""
        with usage_errors():
            return super().invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help page."""
        sections = {name: [flag.name for flag in flags] for name, flags in PANELS.items()}
        formatter.write(help_page(self, ctx, sections))


def _unknown_word(word: str) -> str:
    """Return the message about a word where a flag is expected."""
    if Path(word).is_dir():
        repair = f"; did you mean --models {word}?"
    else:
        repair = or_near(word, ["token"]) or "; the only command is token, and flags start with --"
    return f"no command {shown(word)}{repair}"


def _fields() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the default and the type of every flag's field."""
    defaults, types = {}, {}
    for group in get_type_hints(Settings).values():
        hints = get_type_hints(group)
        for field in fields(group):
            if field.name in FLAGS:
                types[field.name] = hints[field.name]
                if field.default is not MISSING:
                    defaults[field.name] = field.default
    return defaults, types


def _settings_option(types: dict[str, Any]) -> click.Option:
    def read(ctx: click.Context, _: click.Parameter, path: Path | None) -> SettingsFile | None:
        if path is None:
            return None
        try:
            file = read_settings_file(path, types)
        except SettingsFileError as error:
            raise click.BadParameter(str(error)) from error
        ctx.default_map = dict(file.server)
        return file

    return click.Option(
        ["--settings"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=read,
        is_eager=True,
        help="TOML file with flags, and with the providers and their options of each model.",
        show_default="no file",
    )
