"""A task is added on a machine that rounds otherwise than the one that froze the others, where their images are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.notes import Notes
from core.tiny import GROWS, spec
from cpg_core.data.reading.reading import Progress, silent
from cpg_core.data.sources.folder import FolderSource
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of
from cpg_core.model.state import Shared
from cpg_core.recall.audit import audit
from cpg_core.recall.recall import evaluate
from cpg_core.runner import learn_sequence
from cpg_core.stages.freezing.recalled_network import network_of
from cpg_core.stages.freezing.recheck import recheck
from cpg_core.stages.freezing.split_evaluation import split_accuracy
from cpg_core.storage import delta as deltas
from cpg_core.storage.files import digest, sha256, write_json
from cpg_core.storage.run import DELTA, RECORD, Run
from cpg_core.storage.runs import extend


def by_one_rounding(logits: Tensor) -> Tensor:
    return torch.nextafter(logits, torch.tensor(torch.inf))


def by_a_tenth(logits: Tensor) -> Tensor:
    return logits + 0.1


Probed = Callable[..., Run]


@pytest.fixture
def probed(damageable: Callable[..., Run]) -> Probed:
    """`probed(off, processor, **how)`: a learned run whose probes were others at the freeze, on such a processor."""

    def made(off: Callable[[Tensor], Tensor], processor: str | None = None, **how: object) -> Run:
        run, parent = damageable(**how), None
        for record in run.records():
            file, delta = run.task_folder(record.index) / RECORD, run.delta(record.index)
            probe = off(delta.probe)
            machine = record.machine.model_copy(update={} if processor is None else {"processor": processor})
            changed = {
                "delta_sha256": deltas.write(run.task_folder(record.index) / DELTA, replace(delta, probe=probe)),
                "probe_sha256": digest(probe),
                "machine": machine,
                "parent_sha256": parent,
            }
            write_json(file, record.model_copy(update=changed).model_dump(mode="json"))
            parent = sha256(file)
        return run

    return made


@pytest.fixture
def from_elsewhere(probed: Probed) -> Callable[..., Run]:
    """A learned run whose records are of another machine: each logit of its probes was another one by one rounding."""
    return lambda **how: probed(by_one_rounding, "another", **how)


@pytest.mark.parametrize(
    ("off", "processor", "sound"),
    [
        pytest.param(by_one_rounding, "another", True, id="another machine rounds otherwise"),
        pytest.param(by_one_rounding, None, False, id="this one does not"),
        pytest.param(by_a_tenth, "another", False, id="no machine rounds so far"),
    ],
)
def test_an_audit_forgives_the_rounding_of_another_machine_and_nothing_else(
    probed: Probed, off: Callable[[Tensor], Tensor], processor: str | None, sound: bool
) -> None:
    findings = audit(probed(off, processor, tasks="1-2"))
    assert [finding.ok for finding in findings if finding.check == "files"] == [True] * 2
    assert [finding.ok for finding in findings if finding.check == "probe"] == [sound] * 2


def without_images(run: Run) -> Run:
    """The run where none of its images are."""
    gone = FolderSource(kind="folder", folder=run.root / "gone")
    tasks = tuple(task.model_copy(update={"source": gone}) for task in run.spec.tasks)
    return Run(run.root, run.spec.model_copy(update={"tasks": tasks}))


def nobody(task: str) -> Progress:
    pytest.fail(f"the images of {task} are read")


def test_a_task_is_added_to_a_run_of_another_machine_without_the_images_of_the_others(
    from_elsewhere: Callable[..., Run],
) -> None:
    run = without_images(from_elsewhere(tasks="1-2"))
    with pytest.raises(CpgError, match="gone"):
        evaluate(run, "zero-one")
    longer, told = extend(run, spec(tasks="3").tasks[0], 0.5), Notes()
    learn_sequence(longer, told)
    assert longer.frozen() == 3
    known = [(record.name, True, record.test_accuracy) for record in run.records()]
    assert [(recall.task, recall.unchanged, recall.test_accuracy) for recall in longer.recalls(3)] == known
    assert not any("no longer" in note for note in told.notes)
    probes = [finding for finding in audit(longer) if finding.check == "probe"]
    assert [("another machine" in probe.detail, probe.ok) for probe in probes] == [*[(True, True)] * 2, (False, True)]


@pytest.mark.parametrize(("precision", "ok"), [("bfloat16", True), ("float32", False)])
def test_logits_of_another_machine_agree_as_far_as_their_precision_goes(
    damageable: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, precision: str, ok: bool
) -> None:
    """Between 1 and 2 values of bfloat16 lie 2^-7 apart."""
    run = damageable(tasks="1", overrides=(f"compute.precision={precision}",))
    record = run.record(1)
    elsewhere = {"machine": record.machine.model_copy(update={"processor": "another"})}
    write_json(run.task_folder(1) / RECORD, record.model_copy(update=elsewhere).model_dump(mode="json"))
    monkeypatch.setattr("cpg_core.recall.audit.probe_of", lambda *_: run.delta(1).probe + 2**-7)
    assert [finding.ok for finding in audit(run)] == [True, ok]


@pytest.mark.parametrize("how", [{"overrides": GROWS}, {"method": "scratch"}])
def test_of_every_task_before_nothing_is_evaluated(from_elsewhere: Callable[..., Run], how: dict[str, object]) -> None:
    run = without_images(from_elsewhere(**how))
    assembly = assembly_of(run)
    found = recheck(assembly, assembly.rebuild(3), 3, nobody)
    assert [recall.unchanged for recall in found] == [True] * 3


def with_weights_of_task_2_turned(run: Run) -> Shared:
    shared = assembly_of(run).rebuild(2)
    weight = {name: torch.where(shared.owner[name] == 2, -value, value) for name, value in shared.weight.items()}
    return replace(shared, weight=weight)


def test_a_task_whose_weights_change_is_seen_and_evaluated(from_elsewhere: Callable[..., Run]) -> None:
    run = from_elsewhere(tasks="1-2")
    assembly, changed = assembly_of(run), with_weights_of_task_2_turned(run)
    first, second = recheck(assembly, changed, 2, lambda task: silent if task == "two-three" else nobody(task))
    assert (first.unchanged, first.test_accuracy) == (True, run.record(1).test_accuracy)
    assert not second.unchanged
    record = run.record(2)
    network = network_of(assembly, changed, record, run.delta(2))
    mean, std = torch.tensor(record.mean), torch.tensor(record.std)
    assert second.test_accuracy == split_accuracy(run, network, run.test_split(2), mean, std) != record.test_accuracy


def test_one_that_cannot_be_evaluated_is_named(from_elsewhere: Callable[..., Run]) -> None:
    run = without_images(from_elsewhere(tasks="1-2"))
    with pytest.raises(CpgError, match=r"task 'two-three' is no longer as at its freeze.*bring.*back.*gone"):
        recheck(assembly_of(run), with_weights_of_task_2_turned(run), 2, lambda _: silent)


def test_a_method_that_forgets_is_seen_evaluated_and_told(from_elsewhere: Callable[..., Run]) -> None:
    """What its tasks were is what they were at their freeze, and not what the task before left of them."""
    run, told = from_elsewhere(method="sequential"), Notes()
    assembly = assembly_of(run)
    (first,) = recheck(assembly, assembly.rebuild(2), 1, lambda _: silent)
    assert (first.unchanged, first.test_accuracy) == (False, run.recalls(2)[0].test_accuracy)
    longer = extend(run, spec(tasks="4").tasks[0], 0.5)
    learn_sequence(longer, told)
    assert [recall.unchanged for recall in longer.recalls(4)] == [False] * 3
    (note,) = [note for note in told.notes if "no longer" in note]
    assert "zero-one, two-three, four-five" in note and "recall.json" in note
