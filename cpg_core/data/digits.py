"""The digits of scikit-learn: nothing to download, a whole sequence learns in minutes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from cpg_core.data.fields import DigitsSource, Part
from cpg_core.data.listing import Item, Listing, Rows
from cpg_core.data.split import hold_out

TEST_FRACTION = 0.2
SPLIT_SEED = 0  # the split is part of the data set: it is the same for everyone


def list_digits(_source: DigitsSource, part: Part) -> Listing:
    """List one part of the 1,797 images, 8x8 grey, classes "0" to "9"."""
    from sklearn.datasets import load_digits  # slow to import, and only this source needs it

    digits = load_digits()
    rows_of_part = dict(zip(("train", "test"), hold_out(digits.target, TEST_FRACTION, SPLIT_SEED), strict=True))[part]
    images = np.rint(digits.images[rows_of_part] * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0..16

    def read(rows: Rows) -> Iterator[Item]:
        return (Item(f"digit {row}", Image.fromarray(images[row])) for row in rows)

    names = tuple(str(name) for name in digits.target_names)
    return Listing(f"digits, {part} part", names, digits.target[rows_of_part].astype(np.int64), read)
