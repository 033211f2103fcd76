"""A run that is converted: a run of its own, every task rounded, judged and proven anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from core.tiny import frozen_bytes
from cpg_core.config.store import Store
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of
from cpg_core.recall import convert as converting
from cpg_core.recall.audit import audit
from cpg_core.recall.convert import convert
from cpg_core.recall.forget import carry_out, plan
from cpg_core.recall.recall import evaluate
from cpg_core.recall.sizes import KIND_OF_GROUP, by_kind, by_setting
from cpg_core.runner import learn_sequence
from cpg_core.stages.freezing.stored_delta import write_delta
from cpg_core.storage.codecs import EXACT, format_fields
from cpg_core.storage.delta import entries, state_of
from cpg_core.storage.files import read_json, write_json
from cpg_core.storage.lock import locked
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import RECORD, Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Silent

SMALL = Store(values="int8", private="bfloat16", masks="entropy")
SMALLER = Store(values="float32", private="float32", masks="entropy")


def weights(run: Run, index: int) -> dict[str, Tensor]:
    assembly = assembly_of(run)
    record, delta = run.record(index), run.delta(index)
    return assembly.weights(assembly.rebuild(run.frozen()), record, delta)


def test_a_converted_run_is_proven_judged_and_smaller(damageable: Callable[..., Run]) -> None:
    run = damageable()
    before = frozen_bytes(run)
    found = convert(run, "small", SMALL)
    small = open_run(run.root, "small")
    assert frozen_bytes(run) == before
    assert all(finding.ok for finding in audit(small))
    assert small.spec.settings.store == SMALL
    for index, (old, new) in enumerate(found, 1):
        assert (old, new) == (run.record(index), small.record(index))
        assert new.delta_bytes < 0.6 * old.delta_bytes
        assert evaluate(small, new.name) == new.test_accuracy
        assert new.goal_met == (new.accuracy >= new.goal)
        assert (new.format, new.stored and new.stored.missed) == (2, None)
        exact, rounded = weights(run, index), weights(small, index)
        for name in exact:
            assert not torch.equal(exact[name], rounded[name])
            assert torch.allclose(exact[name], rounded[name], atol=float(exact[name].abs().max()) / 200)


def test_a_lossless_conversion_and_back_are_the_bytes_of_before(damageable: Callable[..., Run]) -> None:
    """The probes of the packed run are the bits of the freeze; back in format 1, every file is as it was."""
    run = damageable()
    convert(run, "packed", SMALLER)
    packed = open_run(run.root, "packed")
    assert [r.probe_sha256 for r in packed.records()] == [r.probe_sha256 for r in run.records()]
    assert sum(r.delta_bytes for r in packed.records()) < sum(r.delta_bytes for r in run.records())
    convert(packed, "back", EXACT)
    one, other = frozen_bytes(run), frozen_bytes(open_run(run.root, "back"))
    one.pop("run.json"), other.pop("run.json")
    assert one == other


@pytest.mark.parametrize("masks", ["entropy", "zlib"])
@pytest.mark.parametrize("exact, least, kept", [(2.0, 1.5, "float32"), (2.0, 0.0, "int8"), (1.0, 1.5, "int8")])
def test_a_goal_that_rounding_would_miss_keeps_the_task_exact(
    damageable: Callable[..., Run], exact: float, least: float, kept: str, masks: str
) -> None:
    """No rounded model reaches 1.5. Where the exact one misses the goal too, or both meet it, it is rounded."""
    run = damageable()
    store = SMALL.model_copy(update={"masks": masks})
    spec = run.spec.model_copy(update={"settings": run.spec.settings.model_copy(update={"store": store})})
    assembly = assembly_of(Run(run.root, spec))
    before = assembly.before(assembly.rebuild(0), run.record(1))
    state = state_of(before, run.delta(1), 1, overwrites=False)
    path, silent = run.root / "delta.safetensors", lambda _done, _total: None
    how = {"assembly": assembly, "before": before, "state": state, "index": 1, "data": run.data(1)}
    how |= {"exact_accuracy": exact, "required_accuracy": least, "progress": silent}
    found = write_delta(path, **how)
    assert found.stored.values == kept
    assert (found.stored.missed is not None) == (kept == "float32")
    assert found.accuracy == exact if kept == "float32" else found.accuracy <= 1
    same = all(torch.equal(found.after.weight[name], value) for name, value in state.value.items())
    assert same == (kept == "float32")
    again = write_delta(path, **how, accuracy_is_current=False)
    assert again.accuracy <= 1  # of what it is now, not what was measured before others were rounded
    told = (
        run.record(1).model_copy(update=format_fields(found.delta.codec, found.stored.missed)).model_dump(mode="json")
    )
    assert (told["stored"]["values"], told.get("format", 1)) == (kept, 1 if (kept, masks) == ("float32", "zlib") else 2)
    assert TaskRecord.model_validate(told).stored == found.stored


@pytest.mark.parametrize(
    ("found", "accuracies", "missed"),
    [
        pytest.param([0.99, 0.25, 0.5, 0.98], [0.99, 0.5, 0.98], {2: 0.25}, id="task 2 on task 1 that was rounded"),
        pytest.param([0.25, 0.99, 0.98], [None, 0.99, 0.98], {1: 0.25}, id="task 1 on nothing"),
    ],
)
def test_a_task_that_is_kept_exact_is_judged_by_what_its_model_reaches_now(
    damageable: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, found: list[float],
    accuracies: list[float | None], missed: dict[int, float],
) -> None:  # fmt: skip
    """It picks from tasks that were rounded, so the accuracy of its record is out of date: but for the first."""
    run, measured = damageable(), iter(found)
    monkeypatch.setattr("cpg_core.stages.freezing.stored_delta.split_accuracy", lambda *_: next(measured))
    after = [task.after for task in convert(run, "small", SMALL)]
    assert list(measured) == []
    first = run.record(1).accuracy
    assert [record.accuracy for record in after] == [first if each is None else each for each in accuracies]
    assert [record.goal_met for record in after] == [each is None or each > 0.6 for each in accuracies]
    told = {record.index: record.stored.missed for record in after if record.stored and record.stored.missed}
    assert told == missed


def test_a_task_whose_images_are_others_is_not_converted(damageable: Callable[..., Run]) -> None:
    run = damageable()
    file = run.task_folder(1) / RECORD
    write_json(file, {**read_json(file), "data_sha256": "0" * 64})
    with pytest.raises(CpgError, match="task zero-one: its images are others"):
        convert(run, "small", SMALL)
    assert [path.name for path in run.folder.parent.iterdir()] == [run.spec.name]


def test_a_task_is_frozen_as_the_settings_say(new_run: Callable[..., Run]) -> None:
    """Learned, not converted: later tasks build on rounded ones, and none of them changes a bit of those."""
    run = new_run(tasks="1-2", overrides=("store.values=int8", "store.masks=entropy"))
    learn_sequence(run, Silent())
    assert all(finding.ok for finding in audit(run))
    assert [recall.unchanged for recall in run.recalls(2)] == [True]
    for record in run.records():
        assert record.stored is not None and record.stored.values == "int8"
        assert record.stages[-1].accuracy == record.accuracy
        assert evaluate(run, record.name) == record.test_accuracy


def test_a_record_of_a_newer_format_is_refused_in_a_line(damageable: Callable[..., Run]) -> None:
    run = damageable()
    file = run.task_folder(1) / RECORD
    write_json(file, {**read_json(file), "format": 3, "layers": "something new"})
    with pytest.raises(CpgError, match=r"^\S*record\.json: format 3: written by a newer version[^\n]*$"):
        run.record(1)


def test_a_conversion_that_fails_leaves_nothing(
    damageable: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = damageable()
    with pytest.raises(CpgError, match="is there already"):
        convert(run, run.spec.name, SMALL)
    with pytest.raises(CpgError, match="becomes a folder name"):
        convert(run, "../small", SMALL)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(converting, "recheck", stop)
        convert(run, "small", SMALL)
    assert [path.name for path in run.folder.parent.iterdir()] == [run.spec.name]


def test_sizes_add_up_to_the_files_and_tell_what_a_conversion_takes(damageable: Callable[..., Run]) -> None:
    run = damageable()
    convert(run, "small", SMALL)
    small = open_run(run.root, "small")
    for found in (run, small):
        table = by_kind(found)
        sizes = [(found.task_folder(index) / "delta.safetensors").stat().st_size for index in (1, 2, 3)]
        assert table["bytes"].tolist() == table.drop(columns=["task", "bytes"]).sum(axis=1).tolist() == sizes
        assert (table["rest"] > 0).all() and (table["rest"] < 3000).all()
    groups = {key.split(":")[2] for key in entries(small.delta(2)) if key.startswith("packed:")}
    assert groups - set(KIND_OF_GROUP) == {"shape"}
    own = [record.own for record in run.records()]
    assert by_kind(run)["values"].tolist() == [4 * count for count in own]
    ways = by_setting(run).set_index("stored")["bytes"]
    assert ways["as it is"] == sum(record.delta_bytes for record in run.records())
    assert ways["all of them"] == pytest.approx(sum(record.delta_bytes for record in small.records()), rel=0.01)
    assert ways.drop("as it is").max() < ways["as it is"]


def test_what_is_left_to_erase_of_a_forgotten_task_is_left_to_the_run_itself(damageable: Callable[..., Run]) -> None:
    run = carry_out(plan(damageable(), "two-three"), cache=("0123",))
    convert(run, "small", SMALL)
    small = open_run(run.root, "small")
    assert [(gone.name, bool(gone.left)) for gone in small.spec.forgotten] == [("two-three", False)]
    assert not any("not erased everywhere" in finding.detail for finding in audit(small))
    assert open_run(run.root, run.spec.name).spec.forgotten[0].left.cache == ("0123",)


def test_two_conversions_to_one_name_do_not_meet(damageable: Callable[..., Run]) -> None:
    run = damageable()
    of_the_other = run.folder.with_name(".small.part") / "001-zero-one"
    of_the_other.mkdir(parents=True)
    store = Store(values="int8", private="bfloat16", masks="entropy")
    with locked(run.work.with_name("small")), pytest.raises(CpgError, match="another process"):
        convert(run, "small", store)
    assert of_the_other.is_dir()
