"""The photos that come with the exporter."""

from importlib import resources

__all__ = ["golden_photos"]


def golden_photos() -> list[bytes]:
    """Return the encoded photos: gray, rotated by EXIF, with transparency, large."""
    folder = resources.files("convscope.exporter") / "data" / "photos"
    names = sorted(file.name for file in folder.iterdir() if not file.name.endswith(".md"))
    return [(folder / name).read_bytes() for name in names]
