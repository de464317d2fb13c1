"""The loss of a training that learns a teacher's answers."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpmixer.models.interface import Loss
from mlpmixer.training.distillation import divergence, training_loss
from mlpmixer.training.loss import classification_loss
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.teacher import translated


def drawn(seed: int, spread: float = 3.0) -> Tensor:
    return spread * torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_divergence_of_distributions_is_that_of_its_definition(temperature: float) -> None:
    ours, theirs = drawn(0), drawn(1)
    q, p = (softmax(one.double().numpy() / temperature) for one in (ours, theirs))
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
    found = divergence(ours, theirs, temperature, "softmax")
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_divergence_of_classes_by_themselves_is_that_of_its_definition(
    temperature: float,
) -> None:
    ours, theirs = drawn(0), drawn(1)
    q, p = (sigmoid(one.double().numpy() / temperature) for one in (ours, theirs))
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    found = divergence(ours, theirs, temperature, "sigmoid")
    assert float(found) == pytest.approx(temperature**2 * each.sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("spread", [1.0, 200.0])
def test_who_answers_as_the_teacher_does_has_nothing_to_learn(loss: Loss, spread: float) -> None:
    answers = drawn(0, spread)
    logits = answers.clone().requires_grad_()
    found = divergence(logits, answers, 2.0, loss)
    found.backward()
    assert logits.grad is not None
    assert float(found.detach()) == pytest.approx(0, abs=1e-5)
    assert float(logits.grad.abs().max()) < 1e-6


def test_labels_have_the_rest_of_the_weight() -> None:
    logits, answers, targets = drawn(0), drawn(1), drawn(2).softmax(dim=1)
    recipe = Recipe().override({"teacher_weight": 0.25, "teacher_temperature": 2.0})
    taught = divergence(logits, answers, 2.0, "softmax")
    labelled = classification_loss(logits, targets, recipe.loss)
    torch.testing.assert_close(
        training_loss(logits, targets, answers, recipe), 0.25 * taught + 0.75 * labelled
    )
    torch.testing.assert_close(training_loss(logits, targets, None, recipe), labelled)


def test_labels_are_not_looked_at_unless_they_have_a_share() -> None:
    logits, answers = drawn(0), drawn(1)
    nonsense = torch.full((7, 5), float("nan"))
    assert float(training_loss(logits, nonsense, answers, Recipe())) > 0


def test_a_sigmoid_teacher_teaches_a_softmax_student_given_that_one_class_is_there() -> None:
    logits = drawn(3)
    p = sigmoid(logits.double().numpy())
    alone = p / (1 - p) * (1 - p).prod(axis=1, keepdims=True)  # this class and no other one
    expected = alone / alone.sum(axis=1, keepdims=True)
    found = translated(logits, "sigmoid", "softmax").softmax(dim=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("spread", [1.0, 10.0, 1000.0])
def test_a_softmax_teacher_teaches_a_sigmoid_student_its_probabilities(spread: float) -> None:
    logits = drawn(4, spread)
    found = translated(logits, "softmax", "sigmoid")
    assert found.isfinite().all()
    torch.testing.assert_close(found.sigmoid(), logits.softmax(dim=1), rtol=1e-4, atol=1e-30)
    likeliest = logits.double().softmax(dim=1).max(dim=1).values
    rest = found.max(dim=1).values.neg().double().sigmoid()  # not rounded away beside the likeliest
    if spread == 10:
        torch.testing.assert_close(rest, 1 - likeliest, rtol=1e-4, atol=1e-12)


def test_a_teacher_trained_with_the_students_loss_is_taken_at_its_word() -> None:
    logits = drawn(5)
    for loss in ("softmax", "sigmoid"):
        assert torch.equal(translated(logits, loss, loss), logits)


def test_the_only_class_is_certain() -> None:
    answers = translated(torch.zeros(3, 1), "softmax", "sigmoid")
    assert float(divergence(torch.zeros(3, 1), answers, 1.0, "sigmoid")) == pytest.approx(
        float(np.log(2)), rel=1e-5
    )
