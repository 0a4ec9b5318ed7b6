"""Commands and groups of Typer with our own help pages and errors.

The commands of client and exporter use them. It needs Typer, and imports no room.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup

from convscope._help_pages import help_page, usage_line
from convscope._suggestions import similar
from convscope._usage_errors import usage_errors

__all__ = ["PlainCommand", "PlainGroup"]


class PlainCommand(TyperCommand):
    """A command with a help page that no width cuts off."""

    def get_usage(self, ctx: Any) -> str:
        """Return the line about usage that precedes an error."""
        return usage_line(self, ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        formatter.write(help_page(self, ctx))


class PlainGroup(TyperGroup):
    """A group of commands. It names the commands that resemble an unknown one, or else all."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments of the group itself."""
        with usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with usage_errors():
            return super().invoke(ctx)

    def get_usage(self, ctx: Any) -> str:
        """Return the line about usage that precedes an error."""
        return usage_line(self, ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        formatter.write(help_page(self, ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by its name."""
        if args and self.get_command(ctx, args[0]) is None:
            near = similar(args[0], self.commands)
            repair = f"did you mean {near}?" if near else f"choose {', '.join(self.commands)}"
            ctx.fail(f"there is no command {args[0]!r}; {repair}")
        return super().resolve_command(ctx, args)
