"""Error messages of the commands."""

from rich.console import Console

__all__ = ["print_error"]


def print_error(message: str) -> None:
    """Print a message on the error output."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(message, markup=False)
