"""`python -m convscope.client`: the same as `python -m convscope`."""

from convscope.__main__ import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
