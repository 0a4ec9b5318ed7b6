"""Make the exporter's MNIST sample from the original IDX files.

    python scripts/make_mnist_sample.py FOLDER

FOLDER contains the four gzipped IDX files of MNIST. The script selects 10,000
training images and 2,000 test images at random with a fixed seed. The classes
are not balanced, so their distribution is that of the original.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OUTPUT = Path(__file__).parent.parent / "exporter/convscope/exporter/data/mnist_sample.npz"
COUNTS = {"train": ("train", 10_000), "test": ("t10k", 2_000)}
SEED = 1998
HEADER_BYTES = {"images": 16, "labels": 8}


def main() -> None:
    """Write the sample."""
    folder = Path(sys.argv[1])
    random = np.random.default_rng(SEED)
    arrays = {}
    for split, (prefix, count) in COUNTS.items():
        images = read(folder / f"{prefix}-images-idx3-ubyte.gz", "images").reshape(-1, 28, 28)
        labels = read(folder / f"{prefix}-labels-idx1-ubyte.gz", "labels")
        chosen = np.sort(random.choice(len(labels), count, replace=False))
        arrays[f"{split}_images"] = images[chosen]
        arrays[f"{split}_labels"] = labels[chosen]
    np.savez_compressed(OUTPUT, allow_pickle=False, **arrays)
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size:,} bytes")


def read(path: Path, kind: str) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, without its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[HEADER_BYTES[kind] :]


if __name__ == "__main__":
    main()
