"""The report: all of its parts are there, it needs nothing beside it, and what it says is what the results say."""

from __future__ import annotations

import re
from base64 import b64decode
from math import isnan

import pytest
from core.tiny import ROOT
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from tiny_results import tiny_plan

from flows.reproduce.claims import claims
from flows.reproduce.frames import frames
from flows.reproduce.report.bytes_by_task import bytes_by_task
from flows.reproduce.report.figures import accuracy_and_size, figure_2, followed
from flows.reproduce.report.page import page, sections
from flows.reproduce.report.prune_curves import curve
from flows.reproduce.report.triangles import accuracy_matrix
from flows.reproduce.result import RunResult, StageResult

TITLES = [
    "Accuracy and size",
    "What each task adds",
    "What the numbers carry",
    "Forgetting",
    "Accuracy of every task after every task",
    "Verification",
    "Where each task's weights live",
    "What each task picks of each earlier one",
    "Pruning",
    "Goals and orderings",
]


@pytest.fixture(scope="module")
def html(results: dict[str, RunResult]) -> str:
    return made(results)


def made(results: dict[str, RunResult], findings: str = "") -> str:
    return page(tiny_plan(), results, frames(tiny_plan(), results, ROOT), findings)


def addresses(html: str) -> list[str]:
    """What a browser would ask for."""
    return re.findall(r"(?:src|href|action|data)=[\"']?([^\"'\s>]+)|url\(([^)]+)\)|@import", html)


def test_every_section_has_its_pictures(results: dict[str, RunResult]) -> None:
    asked = sections(results, claims(results))
    found = {section.title: [picture.shows for picture in section.pictures] for section in asked}
    assert list(found) == TITLES
    assert len(found["Accuracy of every task after every task"]) == len(results)
    assert len(found["What each task picks of each earlier one"]) == 5  # four of CPG, and Piggyback
    assert [len(found[title]) for title in (*TITLES[:4], "Goals and orderings")] == [1, 1, 1, 1, 2]
    sharing = [key for key, result in results.items() if result.owned]
    assert len(found["Where each task's weights live"]) == len(sharing) == 8


def test_it_asks_for_nothing_beside_itself(html: str) -> None:
    asked = [found[0] or found[1] for found in addresses(html)]
    assert {address.partition(":")[0] for address in asked if not address.startswith("#")} == {"data"}
    assert "http" not in html
    assert "<script" not in html


def test_two_reports_of_the_same_results_are_the_same(results: dict[str, RunResult]) -> None:
    few = {key: results[key] for key in ("scratch", "cpg-avg", "cpg-max")}
    assert made(few) == made(few)


def test_tables_and_claims_are_those_of_the_results(html: str, results: dict[str, RunResult]) -> None:
    for frame in frames(tiny_plan(), results, ROOT).values():
        for name in frame.columns:
            assert f"<th>{str(name).replace('_', ' ')}</th>" in html
    for claim in claims(results):
        assert claim.figures in html
    for verdict in ("holds", "does not hold", "undecided"):
        assert html.count(f">{verdict}</td>") == sum(claim.verdict == verdict for claim in claims(results))


def test_a_run_that_is_missing_leaves_its_pictures_out(results: dict[str, RunResult]) -> None:
    few = {key: results[key] for key in ("scratch", "packnet")}
    found = {section.title: len(section.pictures) for section in sections(few)}
    assert found["What each task picks of each earlier one"] == found["Goals and orderings"] == 0
    assert found["Pruning"] == 1
    assert "Goals and orderings" not in made(few)


def test_no_results_make_a_page_of_the_published_tables() -> None:
    assert "Table 1" in made({})


def test_findings_are_rendered_and_names_are_escaped(results: dict[str, RunResult]) -> None:
    few = {"scratch": results["scratch"].model_copy(update={"method": "scratch", "git_commit": "<b>1</b>"})}
    text = made(few, "## Why\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n")
    assert "<h2>Why</h2>" in text
    assert "<td>1</td>" in text
    assert "<b>1" not in text


@pytest.mark.parametrize(("split", "told"), [("val", False), ("test", True)])
def test_goals_judged_on_the_test_split_are_labelled(results: dict[str, RunResult], split: str, told: bool) -> None:
    one = {"scratch": results["scratch"].model_copy(update={"goal_split": split})}
    assert ("the test split itself" in made(one)) is told


def test_figures_of_a_run_are_of_that_run(results: dict[str, RunResult]) -> None:
    """An accuracy that is written into a cell of the matrix is the run's."""
    one = {"scratch": results["scratch"].model_copy(update={"matrix": ((0.123,), (0.456, 0.789))})}
    picture = next(section for section in sections(one) if section.title.startswith("Accuracy of every")).pictures[0]
    drawn = b64decode(picture.uri.partition(",")[2]).decode()
    assert [text for text in (">12<", ">46<", ">79<") if text not in drawn] == []


def test_rows_of_a_matrix_are_in_the_order_of_the_tasks(results: dict[str, RunResult]) -> None:
    drawn = accuracy_matrix(results["scratch"].model_copy(update={"matrix": ((0.1,), (0.2, 0.3))}), 0.0, 1.0)
    cells = drawn.axes[0].collections[0].get_array()
    assert cells.filled(-1).flatten().tolist() == pytest.approx([10, -1, 20, 30])


def test_a_curve_stops_where_the_goal_was_last_met(results: dict[str, RunResult]) -> None:
    """Of three sparsities the second was frozen, as its number in `source` says."""
    row = {"target": None, "met": None, "budget_x": 1.0, "seconds": 1.0}
    stages = [
        StageResult(number=1, stage="pick_train", source=None, accuracy=None, sparsity=None, **row),
        StageResult(number=2, stage="check", source=1, accuracy=0.9, sparsity=None, **row),
        *(
            StageResult(number=place + 2, stage="prune", source=place + 1, accuracy=0.9 - place / 10, sparsity=s, **row)
            for place, s in enumerate((0.3, 0.5, 0.7), 1)
        ),
        StageResult(number=6, stage="freeze", source=4, accuracy=None, sparsity=0.5, **row),
    ]
    found = curve(results["cpg-avg"].tasks[0].model_copy(update={"stages": tuple(stages)}))
    assert found is not None
    assert found.sparsity == (0.0, 0.3, 0.5, 0.7)
    assert found.accuracy == pytest.approx((0.9, 0.8, 0.7, 0.6))
    assert found.chosen == 2


def test_the_chosen_point_is_the_sparsity_that_was_frozen(results: dict[str, RunResult]) -> None:
    seen = 0
    for result in results.values():
        for task in result.tasks:
            if found := curve(task):
                assert found.sparsity[found.chosen] == pytest.approx(task.sparsity, abs=1e-9)
                assert list(found.sparsity) == sorted(found.sparsity)
                seen += 1
    assert seen > 10


@pytest.fixture
def imported(results: dict[str, RunResult]) -> RunResult:
    """A run of which the first task is a network that was imported without its own images."""
    run = results["cpg-avg"]
    return run.model_copy(update={"tasks": (run.tasks[0].model_copy(update={"agreement": True}), *run.tasks[1:])})


def test_agreement_is_drawn_nowhere_as_accuracy(imported: RunResult, results: dict[str, RunResult]) -> None:
    assert (followed({"cpg": results["cpg-avg"]}), followed({"cpg": imported})) == ([1], [2])
    cells = accuracy_matrix(imported, 0.0, 1.0).axes[0].collections[0].get_array().filled(-1)
    assert cells[:, 0].tolist() == [-1] * len(imported.tasks) and cells[1, 1] == 100 * imported.matrix[1][1]
    drawn = bytes_by_task({"scratch": results["scratch"], "cpg": imported})
    assert drawn is not None
    accuracy = drawn.axes[1].lines[1].get_ydata()
    assert isnan(accuracy[0]) and accuracy[1] == pytest.approx(100 * imported.tasks[1].final_accuracy)
    assert curve(results["cpg-avg"].tasks[0]) is not None and curve(imported.tasks[0]) is None
    label = accuracy_and_size({"cpg": imported}).axes[0].lines[0].get_label()
    assert label == f"CPG avg, {len(imported.tasks) - 1} tasks"
    assert "What each task adds" in made({"scratch": results["scratch"], "cpg": imported})


def test_a_note_stands_below_the_title_of_its_table(results: dict[str, RunResult]) -> None:
    frame = frames(tiny_plan(), results, ROOT)["table1"]
    plain = page(tiny_plan(), results, {"table1": frame}, "")
    frame.attrs["note"] = "Of small sets & few."
    assert "Of small sets &amp; few." in page(tiny_plan(), results, {"table1": frame}, "") and "&amp; few" not in plain


def test_a_task_that_was_not_pruned_has_no_curve(results: dict[str, RunResult]) -> None:
    assert curve(results["scratch"].tasks[0]) is None


def larger(result: RunResult) -> RunResult:
    """The next seed, of twice the bytes."""
    tasks = [task.model_copy(update={"delta_bytes": 2 * task.delta_bytes}) for task in result.tasks]
    return result.model_copy(update={"seed": result.seed + 1, "tasks": tuple(tasks)})


def test_figures_draw_the_first_seed_of_each_method(results: dict[str, RunResult]) -> None:
    results = {key: results[key] for key in ("cpg-avg", "pae", "den", "scratch")}
    again = {f"{key}-again": larger(result) for key, result in results.items()}
    uris = [{s.title: [p.uri for p in s.pictures] for s in sections(found)} for found in (results, again | results)]
    of_all_seeds = "Accuracy and size", "What each task adds"
    assert all(uris[0].pop(title) != uris[1].pop(title) for title in of_all_seeds)
    assert uris[0] == uris[1]


def test_seeds_are_points_of_one_mark(results: dict[str, RunResult]) -> None:
    again = {f"{key}-again": result.model_copy(update={"seed": result.seed + 1}) for key, result in results.items()}
    drawn = (accuracy_and_size(found).axes[0].lines for found in (results, results | again))
    one, both = ([line for line in lines if line.get_linestyle() == "None"] for lines in drawn)
    assert [line.get_label() for line in both] == [line.get_label() for line in one]
    assert [len(line.get_xdata()) for line in both] == [2 * len(line.get_xdata()) for line in one]
    assert sum(len(line.get_xdata()) for line in one) == len(results)


def test_bytes_by_task_are_those_of_the_deltas_as_a_mean_over_seeds(results: dict[str, RunResult]) -> None:
    first = results["cpg-avg"]
    larger = [task.model_copy(update={"delta_bytes": task.delta_bytes + 2 * 2**20}) for task in first.tasks]
    other = first.model_copy(update={"seed": 2, "tasks": tuple(larger)})
    drawn = bytes_by_task({**results, "cpg-avg-s2": other})
    assert drawn is not None
    scratch, cpg = drawn.axes[0].lines
    assert list(scratch.get_ydata()) == [task.delta_bytes / 2**20 for task in results["scratch"].tasks]
    assert list(cpg.get_ydata()) == pytest.approx([task.delta_bytes / 2**20 + 1 for task in first.tasks])
    assert list(drawn.axes[1].lines[1].get_ydata()) == pytest.approx([100 * t.final_accuracy for t in first.tasks])
    assert bytes_by_task({key: result for key, result in results.items() if key != "scratch"}) is None


def test_where_no_tasks_share_a_network_there_is_no_figure_2(results: dict[str, RunResult]) -> None:
    assert figure_2({"scratch": results["scratch"]}) is None


def test_the_legend_of_figure_2_lies_on_no_other_words(results: dict[str, RunResult]) -> None:
    drawn = figure_2(results)
    assert drawn is not None
    painter = FigureCanvasAgg(drawn)
    painter.draw()
    legend = drawn.legends[0].get_window_extent()
    words = {text.get_text(): text.get_window_extent(painter.get_renderer()) for text in drawn.findobj(Text)}
    named = {name: words[name] for name in ("tasks learned", "test accuracy, %", "task 1")}
    assert [name for name, box in named.items() if box.overlaps(legend)] == []
    assert words["in place"].overlaps(legend)  # the control: its own words do
