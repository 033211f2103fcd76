"""A finished run is a model in the registry, which answers for any of its tasks with the bits of its checkpoints."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from core.tiny import ROOT
from PIL import Image
from torch import Tensor
from waiting import HANG, until

from cpg_core.backbones import Input
from cpg_core.data.batches import eval_batches
from cpg_core.errors import CpgError
from cpg_core.machine import deterministic
from cpg_core.methods import assembly_of
from cpg_core.recall.predictor import Serving, read_images
from cpg_core.recall.recall import evaluate
from cpg_core.stages.freezing.recalled_network import network_of
from cpg_core.storage.files import Damaged
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.evaluation import eval_mode
from cpg_core.training.reporter import Interrupted
from flows.local_runner import learn
from flows.persist import Persist
from flows.request import run_of_request, run_with_added_task
from flows.tracking.sync import Tracker, sync
from workflow.asking import tiny_request
from workflow.conftest import learned
from workflow.listeners import at, silently

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

HIDE = f"""
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flows", "prefect", "dvc"):
            raise ImportError(name + " is not there")

sys.path[:] = [path for path in sys.path if not path.startswith({str(ROOT)!r} + "/") and path != {str(ROOT)!r}
               or "site-packages" in path]
sys.meta_path[:] = [Hidden(), *(finder for finder in sys.meta_path if "editable" not in repr(finder))]
"""
"""A sitecustomize.py for a process that has what is installed, but nothing of this checkout."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mlflow_store: str) -> Run:  # noqa: ARG001
    """Two finished tasks, registered once and told once more."""
    run = learned(tmp_path_factory.mktemp("served"), tiny_request(run="served"))
    sync(run)
    sync(run)
    return run


def registered(client: MlflowClient, name: str) -> list[str]:
    return [str(version.version) for version in client.search_model_versions(f"name = '{name}'")]


def test_a_finished_run_is_registered_once(run: Run, client: MlflowClient) -> None:
    assert registered(client, "served") == ["1"]
    version = client.get_model_version("served", "1")
    assert version.status == "READY"
    assert version.description == "Tasks: zero-one, two-three"
    of = client.get_run(version.run_id)
    assert of.data.tags["run"] == run.spec.name
    (output,) = of.outputs.model_outputs
    assert client.get_logged_model(output.model_id).artifact_location == version.source


def test_an_added_task_makes_a_second_version(client: MlflowClient, tmp_path: Path) -> None:
    run = run_of_request(tiny_request(run="growing", tasks="1-1"), tmp_path)
    learn(run, silently, Tracker())
    assert registered(client, "growing") == ["1"]
    task = tmp_path / "more.yaml"
    task.write_text("name: more\nsource: {kind: digits}\nclasses: ['4', '9']\n")
    more = run_with_added_task(tmp_path, "growing", task, None)
    sync(more)
    assert registered(client, "growing") == ["1"]
    learn(more, silently, Tracker())
    assert sorted(registered(client, "growing")) == ["1", "2"]
    assert client.get_model_version("growing", "2").description == "Tasks: zero-one, more"


def test_an_unfinished_or_untracked_run_is_not(client: MlflowClient, tmp_path: Path) -> None:
    unfinished = run_of_request(tiny_request(run="unfinished"), tmp_path)
    with pytest.raises(Interrupted):
        learn(unfinished, at("two-three", "pick_train"), Tracker())
    untracked = run_of_request(tiny_request(run="untracked", tasks="1-1"), tmp_path)
    learn(untracked, silently, Persist(tmp_path, track=False))
    assert registered(client, "unfinished") == registered(client, "untracked") == []


def recalled_logits(run: Run, index: int) -> tuple[Tensor, Tensor]:
    """The test images of a task, and their logits as `cpg eval` computes them."""
    record, split, settings = run.record(index), run.data(index).test, run.spec.settings
    with deterministic(record.machine.threads):
        network = network_of(assembly_of(run), assembly_of(run).shared(), record, run.delta(index, record))
        mean, std = torch.tensor(record.mean), torch.tensor(record.std)
        with eval_mode(network):
            batches = eval_batches(split, mean, std, settings.eval_batch_size, "cpu")
            logits = torch.cat([network(images) for images, _ in batches])
    assert split.images is not None
    assert evaluate(run, record.name) == (logits.argmax(1) == split.labels).float().mean().item()
    return split.images, logits


def test_an_answer_has_the_bits_of_eval(run: Run) -> None:
    serving = Serving(run)
    assert serving.tasks == ("zero-one", "two-three")
    found = {}
    for index, task in enumerate(serving.tasks, 1):
        images, logits = recalled_logits(run, index)
        given = images.permute(0, 2, 3, 1).numpy()
        answer = serving.answer(task, given)
        assert torch.equal(answer.logits, logits)
        assert answer.content["classes"] == list(run.record(index).classes)
        found[task] = serving.answer(task, given.tolist()[:5]).logits
        assert torch.equal(serving.answer(task, given[:5]).logits, found[task])
    assert not torch.equal(serving.answer("two-three", data_images(run, 1)[:5]).logits, found["zero-one"])


def data_images(run: Run, index: int) -> Any:  # noqa: ANN401
    images = run.data(index).test.images
    assert images is not None
    return images.permute(0, 2, 3, 1).numpy()


def test_a_damaged_checkpoint_is_named(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.root / "checkpoints", tmp_path / "checkpoints")
    damaged = open_run(tmp_path, "served")
    (damaged.task_folder(2) / "delta.safetensors").write_bytes(b"")
    with pytest.raises(Damaged, match="002-two-three"):
        Serving(damaged)


def encoded(image: Image.Image, kind: str = "PNG") -> str:
    file = io.BytesIO()
    image.save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def test_images_of_any_kind_and_size_are_made_to_fit() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    colour = np.repeat(grey, 3, axis=2)
    for wanted in (Input(1, 8), Input(3, 8)):
        same = read_images([grey, colour, grey.tolist(), encoded(Image.fromarray(colour))], wanted)
        assert same.dtype == torch.uint8 and list(same.shape) == [4, wanted.channels, 8, 8]
        assert all(torch.equal(image, same[0]) for image in same)
        assert same[0].flatten().tolist() == grey.flatten().tolist() * wanted.channels
    large = np.full((20, 30, 4), 255, dtype=np.uint8)
    assert list(read_images([large, grey, encoded(Image.fromarray(colour), "JPEG")], Input(3, 8)).shape) == [3, 3, 8, 8]
    assert torch.equal(read_images(grey, Input(1, 8)), read_images([grey], Input(1, 8)))


WRONG: dict[str, tuple[object, str]] = {
    "nothing": ([], "expected a list of one image or more, got an empty list"),
    "no list": (7, "expected a list of one image or more, got int"),
    "flat": ([[1, 2, 3]], r"image 1: expected height x width x channels \(1, 3 or 4\), got list of shape \[3\]"),
    "two channels": ([[[[1]]], [[[1, 2]]]], r"image 2: .* shape \[1, 1, 2\]"),
    "ragged": ([[[[1], [2]], [[3]]]], "image 1: .* rows that differ in length"),
    "fractions": ([[[[0.5]]]], "image 1: expected whole numbers from 0 to 255"),
    "too large": ([[[[256]]]], "image 1: expected whole numbers from 0 to 255"),
    "negative": ([[[[-1]]]], "image 1: expected whole numbers from 0 to 255"),
    "no numbers": ([[[["a"]]]], "image 1: expected whole numbers from 0 to 255"),
    "no base64": (["~"], "image 1: text that is not base64"),
    "no image": ([base64.b64encode(b"no image").decode()], "image 1: cannot read this image"),
    "no image at all": ([None], "image 1: expected height x width x channels"),
}


@pytest.mark.parametrize("images, message", WRONG.values(), ids=WRONG)
def test_a_wrong_image_is_named(images: object, message: str) -> None:
    with pytest.raises(CpgError, match=message):
        read_images(images, Input(1, 8))


@pytest.mark.parametrize("set_to, stays", [(None, "true"), ("false", "false")])
def test_a_served_model_tells_nobody(run: Run, set_to: str | None, stays: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.pyfunc.model import PythonModelContext

    from flows.tracking.served_model import RunModel

    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    if set_to is not None:
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", set_to)
    RunModel().load_context(PythonModelContext({"root": str(run.root)}, {}))
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == stays


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any


Ask = Callable[[object], Reply]


@pytest.fixture(scope="module")
def ask(run: Run, mlflow_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """`mlflow models serve`, in a process that has what is installed and nothing of this checkout."""
    away = tmp_path_factory.mktemp("away")
    (away / "sitecustomize.py").write_text(HIDE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", f"models:/{run.spec.name}/1", "--env-manager", "local", "--port", str(port), "--workers", "1"]
    log = away / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", *words],
            cwd=away,
            env={
                **os.environ,  # with whatever says which instructions of the processor are used
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                "HOME": str(away),
                "PYTHONPATH": str(away),
                "MLFLOW_TRACKING_URI": mlflow_store,
                "OMP_NUM_THREADS": "1",
            },
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, log)
        yield lambda body: _post(url, body)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(HANG)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/ping", timeout=2):
                return True
        except OSError:
            return False

    until(lambda: answers() or process.poll() is not None, "the server of the model")
    assert process.poll() is None, f"the model is not served:\n{log.read_text()}"


def _post(url: str, body: object) -> Reply:
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=HANG) as reply:
            return Reply(reply.status, json.loads(reply.read()))
    except urllib.error.HTTPError as error:
        return Reply(error.code, json.loads(error.read()))


def test_mlflow_serves_every_task(run: Run, ask: Ask) -> None:
    for index, task in enumerate(("zero-one", "two-three"), 1):
        images, logits = recalled_logits(run, index)
        given = images.permute(0, 2, 3, 1).tolist()
        reply = ask({"task": task, "inputs": given})
        assert reply.status == 200, reply.body
        classes = list(run.record(index).classes)
        assert reply.body == {
            "task": task,
            "classes": classes,
            "predicted": [classes[label] for label in logits.argmax(1).tolist()],
            "probabilities": logits.softmax(1).tolist(),
        }
        # MLflow's own form: a parameter beside the inputs, and the answer in "predictions".
        assert ask({"inputs": given, "params": {"task": task}}).body == {"predictions": reply.body}


def test_mlflow_serves_image_files_and_mixed_sizes(run: Run, ask: Ask) -> None:
    image = data_images(run, 1)[0]
    png = encoded(Image.fromarray(image[:, :, 0]))
    large = np.full((20, 30, 3), 255, dtype=np.uint8).tolist()
    reply = ask({"task": "zero-one", "inputs": [image.tolist(), png, large]})
    assert reply.status == 200, reply.body
    first, second, other = reply.body["probabilities"]
    assert first == second != other
    assert ask({"inputs": [png], "params": {"task": "zero-one"}}).status == 200


MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "unknown task": ({"task": "zero-two", "inputs": [[[[1]]]]}, "unknown task 'zero-two'; did you mean 'zero-one'?"),
    "no task": ({"inputs": [[[[1]]]]}, 'which task? Give "task", one of: zero-one, two-three'),
    "no inputs": ({"task": "zero-one"}, "got the keys [] besides task"),
    "misspelt": ({"task": "zero-one", "inputz": [[[[1]]]]}, "got the keys ['inputz'] besides task"),
    "wrong shape": ({"task": "zero-one", "inputs": [[[[1, 2]]]]}, "image 1: expected height x width x channels"),
    "unreadable": ({"task": "zero-one", "inputs": ["bm8="]}, "image 1: cannot read this image"),
    "a table": (
        {"dataframe_split": {"columns": ["a"], "data": [[1]]}, "params": {"task": "zero-one"}},
        "expected a list of one image or more, got DataFrame",
    ),
}


@pytest.mark.parametrize("body, message", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_in_words(ask: Ask, body: dict[str, object], message: str) -> None:
    reply = ask(body)
    assert reply.status == 400
    assert message in reply.body["message"]
    assert len(reply.body["message"]) < 300
    assert set(reply.body) == {"error_code", "message"}


def test_a_description_holds_what_every_database_takes() -> None:
    from flows.tracking.registry import described

    assert described(["one", "two"]) == "Tasks: one, two"
    many = described(["n" * 64] * 3000)
    assert len(many) < 5000
    assert many.endswith("and 2936 more; run.json of its run has all")
