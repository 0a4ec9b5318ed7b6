"""Feature maps as picture files."""

from pathlib import Path

from PIL import Image

from convscope.client.types import Classification, ModelInfo

__all__ = ["PictureFolder"]

SOURCE_SIDE = 512  # more than the sheet shows; a JPEG is decoded to about this size


class PictureFolder:
    """The folder for the contact sheets of one model: IMAGE.MODEL.FEATURE_MAP.png.

    Args:
        directory: The folder; it is created on first use.
        info: The model.
    """

    def __init__(self, directory: Path, info: ModelInfo) -> None:
        self._directory = directory
        self._strides = {spec.name: spec.stride for spec in info.feature_maps}
        self._stems: set[str] = set()

    def save(self, image: Path, result: Classification) -> list[Path]:
        """Save every feature map of one image, and return the files.

        Raises:
            OSError: They can't be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        stem, saved = self._free_stem(image.stem), []
        with Image.open(image) as source:
            source.thumbnail((SOURCE_SIDE, SOURCE_SIDE))
            for feature_map in result.feature_maps.values():
                name = feature_map.name.replace("/", "_")
                path = self._directory / f"{stem}.{result.model}.{name}.png"
                sheet = feature_map.to_image(
                    source, image_name=image.name, stride=self._strides[feature_map.name]
                )
                sheet.save(path)
                saved.append(path)
        return saved

    def _free_stem(self, stem: str) -> str:
        """Return a unique stem, because images from several folders may have the same name."""
        free, number = stem, 2
        while free in self._stems:
            free, number = f"{stem}-{number}", number + 1
        self._stems.add(free)
        return free
