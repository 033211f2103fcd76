"""The claims about accuracy as differences with their intervals: a forest plot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from flows.reproduce.claims import Claim
from flows.reproduce.report.drawing import SMALLEST_PT, figure

COLOURS = {"holds": "#1b7a2f", "does not hold": "#b3261e", "undecided": "#7a7a7a"}
"""A colour a verdict, as in the table of claims."""
LINE_CHARACTERS = 24


def forest(claims: Sequence[Claim]) -> Figure | None:
    """A row a claim about a difference; a tick where it must lie above. None where there is no such claim."""
    rows = [claim for claim in claims if claim.difference is not None]
    if not rows:
        return None
    drawn = figure(0.7 + 0.42 * len(rows))
    panel = drawn.subplots()
    panel.axvline(0, color="#1c1c1c", linewidth=0.8)
    for row, claim in enumerate(rows):
        assert claim.difference is not None
        colour, found = COLOURS[claim.verdict], claim.difference
        panel.plot([found.low, found.high], [row, row], color=colour, linewidth=1.6, solid_capstyle="round")
        panel.plot(found.mean, row, "o", color=colour, markersize=5)
        if claim.least:
            panel.plot(claim.least, row, "|", color="#1c1c1c", markersize=11)
    labels = [textwrap.fill(claim.statement, LINE_CHARACTERS) for claim in rows]
    panel.set_yticks(range(len(rows)), labels, fontsize=SMALLEST_PT)
    panel.set(ylim=(len(rows) - 0.5, -0.5), xlabel="difference, points of accuracy")
    panel.grid(axis="y", visible=False)
    for verdict, colour in COLOURS.items():
        panel.plot([], [], "o-", color=colour, label=verdict, markersize=5)
    drawn.legend(loc="outside lower center", ncols=3, frameon=False)
    return drawn
