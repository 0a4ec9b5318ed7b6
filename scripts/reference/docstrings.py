"""An extension of Griffe, which reads the docstrings for the reference of the SDK."""

from typing import Any

import griffe

__all__ = ["ExampleSections"]


class ExampleSections(griffe.Extension):
    """Read "Example:" as "Examples:", the only section whose content Griffe takes for code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called when an object has been read."""
        if obj.docstring:
            lines = obj.docstring.value.splitlines()
            obj.docstring.value = "\n".join(
                "Examples:" if line == "Example:" else line for line in lines
            )
