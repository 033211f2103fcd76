"""The digits of scikit-learn: nothing to download, a whole sequence learns in minutes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image

from cpg_core.data.fields import Part
from cpg_core.data.listing import Item, Listing, Rows
from cpg_core.data.sources import Source
from cpg_core.data.split import hold_out

TEST_FRACTION = 0.2
SPLIT_SEED = 0  # the split is part of the data set: it is the same for everyone


class DigitsSource(Source):
    """The 1,797 digits of scikit-learn, 8x8 grey, with a fixed stratified split: 80 % train, 20 % test."""

    kind: Literal["digits"]

    def list_part(self, part: Part) -> Listing:
        """The images of a part; classes are "0" to "9"."""
        from sklearn.datasets import load_digits  # slow to import, and only this source needs it

        digits = load_digits()
        train, test = hold_out(digits.target, TEST_FRACTION, SPLIT_SEED)
        rows_of_part = train if part == "train" else test
        images = np.rint(digits.images[rows_of_part] * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0..16

        def read(rows: Rows) -> Iterator[Item]:
            return (Item(f"digit {row}", Image.fromarray(images[row])) for row in rows)

        names = tuple(str(name) for name in digits.target_names)
        return Listing(f"digits, {part} part", names, digits.target[rows_of_part].astype(np.int64), read)


SOURCE = DigitsSource
