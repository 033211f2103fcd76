"""Task 1 verifies faces with the network of a file: its embeddings to the bit, its angular layer; bad files told."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, linear, normalize, prelu

from core.people import face_task, people_spec, who_task, write_faces
from core.stages.importing.test_import_weights import weights_of
from core.tiny import learn
from core.witness import recalled_network
from cpg_core.config.backbone import BackboneSpec
from cpg_core.data.batches import eval_batches
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.split import Split
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of
from cpg_core.model.network import build, shared_parameters
from cpg_core.objectives import of
from cpg_core.objectives.pairs.protocol import accuracy, distances
from cpg_core.recall.audit import audit
from cpg_core.stages.importing.import_weights import checked, network_tensors
from cpg_core.storage.run import Run

WIDTH, SIZE, PEOPLE, EMBEDDING = 0.05, 16, 20, 8
CHANNELS, PAIRS = (3, 6, 13, 26), (1, 2, 4, 1)
"""Of 64, 128, 256 and 512 at that width; at that size the last map is a pixel."""

Tensors = dict[str, Tensor]


def published(people: int = PEOPLE, embedding: int = EMBEDDING) -> Tensors:
    """A narrow network, by the names of the published one."""
    draw, before = partial(torch.randn, generator=torch.Generator().manual_seed(3)), 3
    made = {}
    for stage, (after, pairs) in enumerate(zip(CHANNELS, PAIRS, strict=True), 1):
        for number in range(1, 2 * pairs + 2):
            made[f"conv{stage}_{number}.weight"] = draw(after, before, 3, 3) / (3 * before**0.5)
            made[f"conv{stage}_{number}.bias"] = draw(after) / 10
            made[f"relu{stage}_{number}.weight"] = draw(after)
            before = after
    layers = {"fc5.weight": draw(embedding, before), "fc5.bias": draw(embedding), "fc6.weight": draw(embedding, people)}
    return made | layers


def embedded(tensors: Tensors, images: Tensor) -> Tensor:
    """What the published network makes of images, layer by layer."""

    def layer(name: str, maps: Tensor, stride: int = 1) -> Tensor:
        convolved = conv2d(maps, tensors[f"conv{name}.weight"], tensors[f"conv{name}.bias"], stride, padding=1)
        return prelu(convolved, tensors[f"relu{name}.weight"])

    for stage, pairs in enumerate(PAIRS, 1):
        images = layer(f"{stage}_1", images, stride=2)
        for first in range(2, 2 * pairs + 2, 2):
            images = images + layer(f"{stage}_{first + 1}", layer(f"{stage}_{first}", images))
    return linear(images.flatten(1), tensors["fc5.weight"], tensors["fc5.bias"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield write_faces(tmp_path_factory.mktemp("faces"), trained=PEOPLE, pictures=4, tested=20, each=2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(published(), tmp_path / "sphere20a.pth")
    return tmp_path / "sphere20a.pth"


def verification(root: Path, **given: object) -> TaskSpec:
    return face_task(root, embedding=EMBEDDING, normalise={"mean": [0.5] * 3, "std": [0.5] * 3}, **given)


def of_file(file: Path, task: TaskSpec, name: str = "sphereface20", size: int = SIZE) -> BackboneSpec:
    return checked(BackboneSpec(name=name, size=size, weights=str(file)), WIDTH, task)


def learned(to: Path, file: Path, *tasks: TaskSpec, method: str = "cpg") -> Run:
    spec = people_spec(tasks, (f"base_width={WIDTH}", "grow.max_x=1.0", "prune.epochs=1"), method)
    goals = dict.fromkeys(spec.goals, 0.0)
    return learn(to, spec.model_copy(update={"backbone": of_file(file, tasks[0]), "goals": goals}))


def test_embeddings_are_the_published_networks_to_the_bit_and_so_are_its_angles(root: Path, file: Path) -> None:
    """However the file was written, and the angular layer with a column an identity there."""
    save_file(published(), file.with_suffix(".safetensors"))
    images, task = torch.rand(2, 3, SIZE, SIZE) * 2 - 1, verification(root)
    theirs = embedded(published(), images)
    cosines = normalize(theirs) @ normalize(published()["fc6.weight"], dim=0)
    for written in (file, file.with_suffix(".safetensors")):
        spec = of_file(written, task)
        ours = build(spec, WIDTH, PEOPLE, objective=of(task))
        ours.load_state_dict(network_tensors(spec, WIDTH, task, PEOPLE))
        with torch.no_grad():
            assert torch.equal(ours.eval()(images), theirs)
            assert torch.allclose(ours.train()(images)[:, :-1], cosines, atol=1e-6)


def embeddings_of(run: Run, split: Split) -> Tensor:
    data = run.data(1)
    batches = eval_batches(split, data.mean, data.std, 64, "cpu")
    return torch.cat([embedded(published(), images) for images, _ in batches])


def test_it_is_measured_by_the_tasks_own_pairs_and_not_trained(root: Path, file: Path, tmp_path: Path) -> None:
    """Of the people held out to validate on, the network that is trained has no row."""
    run = learned(tmp_path, file, verification(root), method="piggyback")
    data, record, theirs = run.data(1), run.record(1), published()
    pairs = data.val.pairs
    assert pairs is not None
    found = accuracy(distances(embeddings_of(run, data.val), pairs), pairs.same, pairs.fold).mean
    assert record.stages[0].stage == "import"
    assert record.stages[0].accuracy == pytest.approx(found)
    network = recalled_network(run, 1, assembly_of(run).rebuild(1), run.delta(1))
    assert all(torch.equal(value, theirs[name]) for name, value in shared_parameters(network).items())
    everybody = data.spec.classes
    assert everybody is not None and len(everybody) == PEOPLE > len(data.classes)
    trained = [everybody.index(name) for name in data.classes]
    assert torch.equal(run.delta(1).private["head.identities"], theirs["fc6.weight"].t()[trained])


def test_an_angular_layer_that_was_left_out_is_the_mean_direction_of_each_person(
    root: Path, file: Path, tmp_path: Path
) -> None:
    torch.save({name: value for name, value in published().items() if name != "fc6.weight"}, file)
    run = learned(tmp_path, file, verification(root), method="piggyback")
    data = run.data(1)
    directions = normalize(embeddings_of(run, data.train))
    of_each = torch.stack([directions[data.train.labels == label].mean(0) for label in range(len(data.classes))])
    assert torch.allclose(run.delta(1).private["head.identities"], normalize(of_each), atol=1e-6)


def test_it_is_pruned_as_any_task_and_picked_from(root: Path, file: Path, tmp_path: Path) -> None:
    run = learned(tmp_path, file, verification(root), who_task(root))
    first, second = run.records()
    assert [stage.stage for stage in first.stages] == ["import", "check", "prune", "freeze"]
    assert first.sparsity == pytest.approx(0.3, abs=0.01)
    assert second.picked is not None
    assert all(finding.ok for finding in audit(run))


def test_the_identities_must_be_the_people_of_task_1(root: Path, file: Path, tmp_path: Path) -> None:
    """And not as many as there are numbers in an embedding."""
    torch.save(published(people=EMBEDDING), file)
    with pytest.raises(CpgError, match=f"its fc6 tells {EMBEDDING} identities apart, and task 1 has {PEOPLE};") as told:
        learned(tmp_path, file, verification(root))
    assert len(str(told.value).splitlines()) == 1


def damaged(file: Path, how: str) -> None:
    whole = published()
    match how:
        case "cut":
            file.write_bytes(file.read_bytes()[:-5000])
        case "network":
            torch.save(weights_of("resnet18", "fc"), file)
        case "missing":
            torch.save({name: value for name, value in whole.items() if name != "relu2_5.weight"}, file)
        case "deeper":
            torch.save(whole | {"conv4_4.weight": torch.ones(1)}, file)
        case "embedding":
            torch.save(published(embedding=5), file)
        case "size":
            torch.save(whole | {"fc5.weight": torch.ones(EMBEDDING, 26 * 4)}, file)
        case "turned":
            torch.save(whole | {"fc6.weight": whole["fc6.weight"].t().contiguous()}, file)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "cut short"),
        ("network", "no fc5.weight, of the head of backbone sphereface20"),
        ("missing", "missing: relu2_5.weight$"),
        ("deeper", "not of this network: conv4_4.weight"),
        ("embedding", r"fc5.weight \[5, 26\] instead of \[8, 26\], .* follow from the task's `embedding`"),
        ("size", r"of another shape: fc5.weight \[8, 104\] instead of \[8, 26\]; .* and the backbone's `size`"),
        ("turned", r"of another shape: fc6.weight \[20, 8\] instead of \[8, 8\]"),
    ],
)
def test_a_bad_file_is_told_in_a_line_before_anything_is_read(root: Path, file: Path, how: str, words: str) -> None:
    damaged(file, how)
    with pytest.raises(CpgError, match=words) as told:
        of_file(file, verification(root))
    assert len(str(told.value).splitlines()) == 1
    assert str(file) in str(told.value)


def test_a_network_of_another_kind_of_task_is_told_in_a_line(root: Path, file: Path) -> None:
    with pytest.raises(CpgError, match="sphereface20: its published network does verification, and task 1 is of kind"):
        of_file(file, who_task(root))
    with pytest.raises(CpgError, match="resnet18: its published network does classification, and task 1 is of kind"):
        of_file(file, verification(root), name="resnet18", size=32)
