"""Losses against numbers worked out by hand, and their gradients against finite differences in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from cpg_core import objectives
from cpg_core.errors import CpgError
from cpg_core.objectives import ObjectiveSpec
from cpg_core.objectives.losses.a_softmax import ASoftmax, psi
from cpg_core.objectives.losses.loss import AngleLoss
from cpg_core.objectives.verification import AngularHead

FIRST_STEP = torch.tensor(0.0)


def angles(images: Sequence[int] = (), **loss: object) -> AngleLoss:
    spec = ObjectiveSpec.model_validate({"kind": "verification", "loss": loss})
    assert spec.loss is not None
    return spec.loss.of_angles(images)


def logits(images: Sequence[int] = (), **loss: object) -> Callable[[Tensor, Tensor], Tensor]:
    objective = objectives.of(ObjectiveSpec.model_validate({"loss": loss}), images)
    return lambda outputs, labels: objective.loss(outputs, labels, FIRST_STEP)


def degrees(*angle: float) -> Tensor:
    return torch.tensor(angle, dtype=torch.float64).deg2rad().cos()


def minus_log_softmax(of: float, *others: float) -> float:
    return math.log(sum(map(math.exp, (of, *others)))) - of


@pytest.mark.parametrize(
    ("angle", "m", "by_hand"),
    [
        (0, 4, 1),
        (30, 4, -0.5),  # k = 0: cos 120
        (45, 4, -1),  # both pieces meet: cos 180, and -cos 180 - 2
        (60, 4, -1.5),  # k = 1: -cos 240 - 2
        (90, 4, -3),  # k = 2: cos 360 - 4
        (120, 4, -4.5),  # k = 2: cos 480 - 4
        (180, 4, -7),
        (60, 1, 0.5),
        (60, 2, -0.5),
        (120, 2, -1.5),  # k = 1: -cos 240 - 2
        (100, 3, -2.5),  # k = 1: -cos 300 - 2
    ],
)
def test_psi_by_hand(angle: float, m: int, by_hand: float) -> None:
    assert psi(degrees(angle), m).item() == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_psi_falls_all_the_way(m: int) -> None:
    found = psi(torch.linspace(0, math.pi, 1001, dtype=torch.float64).cos(), m)
    assert (found.diff() < 0).all()
    assert (found[0].item(), found[-1].item()) == pytest.approx((1, 1 - 2 * m))


@pytest.mark.parametrize(
    ("steps", "by_hand"),
    [(0, 1500), (10, 750), (1000, 1500 / 101), (2989, 1500 / 299.9), (2990, 5), (10**6, 5)],
)
def test_lambda_by_hand(steps: int, by_hand: float) -> None:
    assert ASoftmax(kind="a_softmax").annealing(torch.tensor(float(steps))).item() == pytest.approx(by_hand)


def test_a_softmax_by_hand() -> None:
    """An embedding of length 2 at 60 degrees to its own class and 90 to the other; psi is -1.5."""
    given = degrees(60, 90)[None], torch.full((1, 1), 2.0, dtype=torch.float64), torch.tensor([0])
    at_first = 2 * (1500 * 0.5 - 1.5) / 1501
    at_last = 2 * (5 * 0.5 - 1.5) / 6
    loss = angles(kind="a_softmax")
    assert loss(*given, FIRST_STEP).item() == pytest.approx(minus_log_softmax(at_first, 0))
    assert loss(*given, torch.tensor(10.0**6)).item() == pytest.approx(minus_log_softmax(at_last, 0))


def test_cosface_by_hand() -> None:
    given = degrees(60, 90)[None], torch.full((1, 1), 2.0, dtype=torch.float64), torch.tensor([0])
    by_hand = minus_log_softmax(10 * (0.5 - 0.2), 0)
    assert angles(kind="cosface", s=10, m=0.2)(*given, FIRST_STEP).item() == pytest.approx(by_hand)


def test_of_angles_cross_entropy_has_the_length_as_scale_and_is_a_softmax_without_margin() -> None:
    given = degrees(60, 90)[None], torch.full((1, 1), 2.0, dtype=torch.float64), torch.tensor([0])
    by_hand = minus_log_softmax(1, 0)
    for loss in (angles(kind="cross_entropy"), angles(kind="a_softmax", m=1)):
        assert loss(*given, FIRST_STEP).item() == pytest.approx(by_hand)


LOGITS = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
OF_FIRST = [minus_log_softmax(1, 0), minus_log_softmax(0, 0), minus_log_softmax(2, 0)]
LABELS = torch.tensor([0, 0, 1])


def test_weighted_cross_entropy_by_hand() -> None:
    """Of 4 images 3 are of the first class, so it weighs 1/3 and the second 3."""
    by_hand = (OF_FIRST[0] / 3 + OF_FIRST[1] / 3 + OF_FIRST[2] * 3) / (1 / 3 + 1 / 3 + 3)
    for loss in (
        logits((3, 1), kind="weighted_cross_entropy"),
        logits((9, 9), kind="weighted_cross_entropy", counts=(3, 1)),
        logits((9, 9), kind="weighted_cross_entropy", weights=(1 / 3, 3)),
    ):
        assert loss(LOGITS, LABELS).item() == pytest.approx(by_hand)
    assert logits((2, 2), kind="weighted_cross_entropy")(LOGITS, LABELS).item() == pytest.approx(sum(OF_FIRST) / 3)
    assert logits((3, 1), kind="cross_entropy")(LOGITS, LABELS).item() == pytest.approx(sum(OF_FIRST) / 3)


LOSSES = [
    {"kind": "cross_entropy"},
    {"kind": "weighted_cross_entropy"},
    {"kind": "a_softmax"},
    {"kind": "a_softmax", "m": 3, "lambda_min": 0.0, "lambda_max": 0.0},
    {"kind": "cosface", "s": 8.0},
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradients_through_the_head(loss: dict[str, object]) -> None:
    torch.manual_seed(1)
    objective = objectives.of(ObjectiveSpec.model_validate({"kind": "verification", "loss": loss}), (3, 2, 1))
    head = AngularHead(3, 3, 4).double()
    given = [torch.randn(5, 3, dtype=torch.float64), head.weight, head.bias, head.identities]
    inputs = [tensor.detach().clone().requires_grad_() for tensor in given]
    labels, steps = torch.tensor([0, 1, 2, 0, 1]), torch.tensor(500.0, dtype=torch.float64)

    def of(features: Tensor, *parameters: Tensor) -> Tensor:
        values = dict(zip(("weight", "bias", "identities"), parameters, strict=True))
        return objective.loss(torch.func.functional_call(head, values, (features,)), labels, steps)

    assert gradcheck(of, inputs)


def test_a_gradient_that_misses_the_margin_fails_the_same_check() -> None:
    """The control: psi as it is computed, its slope that of the cosine alone."""

    def of(cosine: Tensor) -> Tensor:
        return (psi(cosine, 4) - cosine).detach() + cosine

    cosine = degrees(50, 100, 20).requires_grad_()
    assert gradcheck(lambda value: psi(value, 4), (cosine,))
    assert not gradcheck(of, (cosine,), raise_exception=False)


def test_the_head_gives_angles_in_training_and_embeddings_after() -> None:
    head = AngularHead(2, 3, 2)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
        head.bias.zero_()
        head.identities.copy_(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-1.0, -1.0]]))
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert head(features)[0].tolist() == pytest.approx([0.6, 0.8, -1.4 / math.sqrt(2), 5.0])
    assert head(features)[1].tolist() == [0, 0, 0, 0]
    assert torch.equal(head.eval()(features), features)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"loss": {"kind": "a_softmax"}}, "loss a_softmax sets a margin between angles, .* kind verification"),
        ({"loss": {"kind": "cosface"}}, "loss cosface sets a margin between angles"),
        ({"embedding": 8}, "embedding: only tasks of kind verification"),
        ({"loss": {"kind": "weighted_cross_entropy", "counts": [3, 1]}}, "loss: 2 weights or counts for 3 classes"),
    ],
)
def test_a_setting_that_the_kind_does_not_have(spec: dict[str, object], told: str) -> None:
    with pytest.raises(CpgError, match=told):
        objectives.of(ObjectiveSpec.model_validate(spec), (1, 1, 1))
