"""The digits of scikit-learn: nothing to download, a whole sequence learns in minutes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cpg_core.data.fields import Part
from cpg_core.data.reading.listing import Item, Listing, Rows
from cpg_core.data.sources import Source
from cpg_core.data.splits.split import hold_out

TEST_FRACTION = 0.2
SPLIT_SEED = 0  # the split is part of the data set: it is the same for everyone


class DigitsSource(Source):
    """The 1,797 digits of scikit-learn, 8x8 grey, with a fixed stratified split: 80 % train, 20 % test."""

    kind: Literal["digits"]

    def list_part(self, part: Part) -> Listing:
        """The images of a part; classes are "0" to "9"."""
        levels, labels = load_digits()
        train, test = hold_out(labels, TEST_FRACTION, SPLIT_SEED)
        rows_of_part = train if part == "train" else test
        images = np.rint(levels[rows_of_part] * (255 / 16)).astype(np.uint8)

        def read(rows: Rows) -> Iterator[Item]:
            return (Item(f"digit {row}", Image.fromarray(images[row])) for row in rows)

        names = tuple(str(digit) for digit in range(10))
        return Listing(f"digits, {part} part", names, labels[rows_of_part], read)


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All images [1797, 8, 8], of 17 grey levels, 0 to 16, and the digit of each [1797].

    From the file of scikit-learn, whose own function would take a second to import in every process.
    """
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


SOURCE = DigitsSource
