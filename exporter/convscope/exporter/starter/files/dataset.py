"""Writes dataset.npz, which `convscope-exporter train` reads, and an image to classify.

Replace `images` by your own images. If they are files, you need no script: put them into one
folder per class, and train with --dataset folder:PATH.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CLASSES = ["circle", "square", "triangle"]
SIDE = 32
IMAGES_PER_CLASS = 800
CORNERS = {"square": 4, "triangle": 3}


def images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images, uint8 [N, height, width, 3], and the class of each, from 0."""
    random = np.random.default_rng(0)
    classes = np.tile(np.arange(len(CLASSES)), IMAGES_PER_CLASS)
    return np.stack([draw(CLASSES[number], random) for number in classes]), classes


def draw(name: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a shape of random size, place, angle and color on noise."""
    image = Image.fromarray(random.integers(0, 90, (SIDE, SIDE, 3), np.uint8))
    radius = int(random.integers(7, 14))
    x, y = (int(one) for one in random.integers(radius, SIDE - radius, 2))
    red, green, blue = (int(one) for one in random.integers(130, 256, 3))
    canvas = ImageDraw.Draw(image)
    if name in CORNERS:
        angle = int(random.integers(360))
        canvas.regular_polygon((x, y, radius), CORNERS[name], angle, fill=(red, green, blue))
    else:
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))
    return np.asarray(image)


if __name__ == "__main__":
    x, y = images()
    np.savez_compressed("dataset.npz", x_train=x, y_train=y, classes=np.array(CLASSES))
    print(f"dataset.npz has {len(x)} images of {', '.join(CLASSES)}")
    # An image to classify, which the training doesn't see.
    Image.fromarray(draw(CLASSES[0], np.random.default_rng(1))).save(f"{CLASSES[0]}.png")
