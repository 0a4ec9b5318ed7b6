"""A labeled folder of colors for the tiny model, which classifies the strongest color."""

from pathlib import Path

from PIL import Image

COLORS = {"red": (210, 30, 20), "green": (20, 190, 40), "blue": (30, 20, 220)}


def write_colors(folder: Path, counts: dict[str, int], mislabeled: dict[str, str]) -> None:
    """Write pictures of each class.

    Args:
        folder: The dataset, with one folder for each class.
        counts: The number of pictures of each class.
        mislabeled: For a class, the color of its first picture.
    """
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            red, green, blue = COLORS[mislabeled.get(name, name) if index == 0 else name]
            # Each picture differs a little, and so does its confidence.
            shade = (red + index, green + 2 * index, blue + index)
            Image.new("RGB", (40 + index, 30), shade).save(folder / name / f"{index}.png")
