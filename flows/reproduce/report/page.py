"""The report: one HTML file that holds all it shows, made from the results and tables of a profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from matplotlib.figure import Figure

from flows.reproduce.claims import Claim
from flows.reproduce.claims_by_task import claims_of
from flows.reproduce.conversions import Converted
from flows.reproduce.plan import Plan
from flows.reproduce.report.bytes_by_task import bytes_by_task
from flows.reproduce.report.choices import by_goal, by_ordering
from flows.reproduce.report.drawing import look, styled, svg_uri
from flows.reproduce.report.figures import accuracy_and_size, figure_2
from flows.reproduce.report.forest import forest
from flows.reproduce.report.layers import ownership
from flows.reproduce.report.prune_curves import prune_curves
from flows.reproduce.report.roc import roc
from flows.reproduce.report.triangles import accuracy_matrix, chooses, picks
from flows.reproduce.result import RunResult, as_in_the_profile, first_seeds, labelled_matrix
from flows.reproduce.sizes import Published
from flows.reproduce.tables import as_text

TEMPLATE = "page.html"
SPLITS = {"val": "a validation split of the training images", "test": "the test split itself"}
TABLE_TITLES = {
    "table1": "Table 1: PackNet, PAE and CPG",
    "table2": "Table 2: independent and fine-tuned models, and CPG with three goals",
    "table3": "Table 3: model sizes",
    "table4": "Table 4: data sets of photos",
    "table5": "Table 5: data sets of faces",
    "table6": "Table 6: photos, from a pretrained network on",
    "table7": "Table 7: faces",
    "table8": "Table 8: orderings",
    "comparison": "Every method: accuracy, transfer, forgetting and cost",
}


@dataclass(frozen=True)
class Picture:
    """An image that lies in the page itself, and what it shows in words."""

    uri: str
    shows: str


@dataclass(frozen=True)
class Section:
    """Pictures of one kind; what to see in them."""

    title: str
    text: str
    pictures: list[Picture]


def page(
    plan: Plan,
    results: Mapping[str, RunResult],
    tables: Mapping[str, pd.DataFrame],
    findings: str,
    published: Sequence[Published] = (),
    stored: Sequence[Converted] = (),
) -> str:
    """The report as HTML; it asks no other file and no network for anything.

    Args:
        plan: says profile and sequence.
        results: all results of the profile.
        tables: by the names of `TABLE_TITLES`.
        findings: Markdown; what was found out about these results by hand, or nothing.
        published: the paper's own models.
        stored: runs that were stored otherwise.
    """
    asked = claims_of(results)
    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(TEMPLATE)
    return template.render(
        plan=plan,
        splits=sorted({SPLITS[result.goal_split] for result in results.values()}),
        seeds=sorted({result.seed for result in results.values()}),
        commits=sorted({(result.git_commit or "unknown")[:8] for result in results.values()}),
        claims=asked,
        findings=Markup(MarkdownIt("commonmark").enable("table").render(findings)),
        tables={TABLE_TITLES[name]: (_html(frame), frame.attrs.get("note", "")) for name, frame in tables.items()},
        sections=[section for section in sections(results, asked, published, stored) if section.pictures],
    )


@styled()
def sections(
    results: Mapping[str, RunResult],
    asked: Sequence[Claim] = (),
    published: Sequence[Published] = (),
    stored: Sequence[Converted] = (),
) -> list[Section]:
    """All figures. One whose results are not there is left out.

    Args:
        results: all results of a profile.
        asked: the claims about them.
        published: the paper's own models, to stand beside them.
        stored: runs that were stored otherwise, likewise.
    """
    results = as_in_the_profile(results)
    if not results:
        return []
    first_seed = list(first_seeds(results).values())
    cpg = [result for result in first_seed if result.method == "cpg"]
    goals = [result for result in cpg if result.ordering == "0"]
    orderings = [result for result in cpg if result.goal == "avg"]
    seen = [value for result in first_seed for row in labelled_matrix(result) for value in row if not isnan(value)]
    ends = min(seen, default=0.0), max(seen, default=1.0)
    return [
        Section(
            "Accuracy and size",
            "Average accuracy against everything that is stored, as bytes on disk; of methods that learn in place with "
            "the weights that were overwritten since. Up and to the left is better.",
            _pictures([(accuracy_and_size(results, published, stored), "average accuracy against model size")]),
        ),
        Section(
            "What each task adds",
            "Bytes on disk by task against a model a task, and the accuracy beside them.",
            _pictures([(bytes_by_task(results), "bytes and accuracy by task")]),
        ),
        Section(
            "What the numbers carry",
            "Each claim about accuracy as a difference, paired by task, with its 95 % interval (bootstrap over tasks "
            "and seeds). It is decided only where the whole interval lies on one side, of zero or of the tick, "
            "and each side has two seeds or more.",
            _pictures([(forest(asked), "claims as differences with intervals")]),
        ),
        Section(
            "Forgetting",
            "Accuracy of early tasks as later ones are learned (the paper's Figure 2). A method that does not forget "
            "draws a level line, to the bit.",
            _pictures([(figure_2(results), "Figure 2")]),
        ),
        Section(
            "Accuracy of every task after every task",
            "Read down a column: one colour is a task that is recalled as it was learned.",
            _pictures(
                (accuracy_matrix(result, *ends), f"accuracy matrix of {look(result).label}") for result in first_seed
            ),
        ),
        Section(
            "Verification",
            "Pairs of one person that are accepted against pairs of two that are, over all thresholds: the test pairs "
            "in folds. The mark is at the false-accept rate that the task states, of all of its pairs.",
            _pictures((drawn, f"ROC of {drawn.axes[0].get_title()}") for drawn in roc(first_seed)),
        ),
        Section(
            "Where each task's weights live",
            "Each bar is a layer, with how many weights it has.",
            _pictures((ownership(result), f"owners in {look(result).label}") for result in first_seed if result.owned),
        ),
        Section(
            "What each task picks of each earlier one",
            "Methods that do not learn what to pick use all of it, and are left out.",
            _pictures((picks(result), f"picks of {look(result).label}") for result in first_seed if chooses(result)),
        ),
        Section(
            "Pruning",
            "A panel a task: accuracy on the split that decides, above or below the goal (red), at each sparsity that "
            "was tried. Black: what was chosen, before its weights recovered or its picks were learned again.",
            _pictures((prune_curves(result), f"prune curves of {look(result).label}") for result in first_seed),
        ),
        Section(
            "Goals and orderings",
            "Final test accuracy of each task under CPG. Hollow: the goal was missed. Numbers: the task's place in the "
            "ordering.",
            _pictures(
                [
                    (by_goal(goals) if len(goals) > 1 else None, "accuracy by goal"),
                    (by_ordering(orderings) if len(orderings) > 1 else None, "accuracy by ordering"),
                ]
            ),
        ),
    ]


def _pictures(drawn: Iterable[tuple[Figure | None, str]]) -> list[Picture]:
    return [Picture(svg_uri(figure), shows) for figure, shows in drawn if figure is not None]


def _html(frame: pd.DataFrame) -> Markup:
    text = as_text(frame)
    text.columns = [str(name).replace("_", " ") for name in text.columns]
    return Markup(text.to_html(index=False, border=0))
