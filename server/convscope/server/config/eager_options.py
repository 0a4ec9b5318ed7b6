"""The options that print something instead of serving: the version, and the shell's completion."""

from importlib.metadata import version

import click
from click.shell_completion import get_completion_class

__all__ = ["completion_option", "version_option"]

SHELLS = ("bash", "zsh", "fish")


def version_option() -> click.Option:
    """Return --version."""

    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            click.echo(f"convscope-server {version('convscope')}")
            ctx.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        allow_from_autoenv=False,
        help="Print the version.",
    )


def completion_option() -> click.Option:
    """Return --show-completion."""

    def show(ctx: click.Context, _: click.Parameter, shell: str | None) -> None:
        if shell is None:
            return
        name = str(ctx.find_root().info_name)
        variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
        completion = get_completion_class(shell)
        if completion is not None:
            click.echo(completion(ctx.command, {}, name, variable).source())
        ctx.exit()

    return click.Option(
        ["--show-completion"],
        type=click.Choice(SHELLS),
        is_eager=True,
        expose_value=False,
        callback=show,
        allow_from_autoenv=False,
        help="Print what makes a shell complete the flags, to evaluate it there.",
        show_default="nothing",
    )
