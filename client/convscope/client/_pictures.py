"""Feature maps as picture files."""

from pathlib import Path

from PIL import Image, ImageOps

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
        self._info = info
        self._stems: set[str] = set()

    def save(self, image: Path, result: Classification) -> list[Path]:
        """Save every feature map of one image, and return the files.

        Raises:
            OSError: They can't be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        stem, saved = self._free_stem(image.stem), []
        with Image.open(image) as opened:
            opened.thumbnail((SOURCE_SIDE, SOURCE_SIDE))
            source = self._crop(ImageOps.exif_transpose(opened))
            for feature_map in result.feature_maps.values():
                name = feature_map.name.replace("/", "_")
                path = self._directory / f"{stem}.{result.model}.{name}.png"
                sheet = feature_map.to_image(
                    source, image_name=image.name, stride=self._strides[feature_map.name]
                )
                sheet.save(path)
                saved.append(path)
        return saved

    def _crop(self, image: Image.Image) -> Image.Image:
        """Cut out the part that the model sees, which the feature maps show."""
        if self._info.resize is None:
            return image
        input_height, input_width, _ = self._info.input.shape
        resized_width, resized_height = self._info.resize.size(*image.size)
        width = image.width * min(1, input_width / resized_width)
        height = image.height * min(1, input_height / resized_height)
        left, top = (image.width - width) / 2, (image.height - height) / 2
        return image.crop((round(left), round(top), round(left + width), round(top + height)))

    def _free_stem(self, stem: str) -> str:
        """Return a unique stem, because images from several folders may have the same name."""
        free, number = stem, 2
        while free in self._stems:
            free, number = f"{stem}-{number}", number + 1
        self._stems.add(free)
        return free
