"""Error messages of the commands."""

from rich.console import Console

from convscope.client.cli.readable import readable

__all__ = ["print_error"]


def print_error(message: str) -> None:
    """Print a message on one line of the error output."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(readable(message), markup=False)
