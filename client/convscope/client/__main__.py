"""The entry point of the `convscope` command."""

__all__ = ["main"]


def main() -> None:
    """Run a command; exit with 1 if an image or the call failed, 2 if a flag is wrong."""
    from convscope.client.cli import app

    app(prog_name="convscope")


if __name__ == "__main__":
    main()
