"""Sharpness-aware steps: SAM's own formula, LookSAM's, and everything that they meet."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mlpmixer.training.sharpness import SHARE, SharpnessAware


class Bowl(nn.Module):
    """A loss with a curvature of its own in each direction."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.unused = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.curvature = torch.tensor([3.0, 0.5], dtype=torch.float64)

    def backward(self) -> Tensor:
        loss = (self.curvature * self.place**2).sum() / 2
        loss.backward()
        return loss.detach()

    def gradient(self, place: Tensor) -> Tensor:
        return self.curvature * place


def asked(bowl: Bowl, sharpness: SharpnessAware, number: int) -> Tensor:
    bowl.zero_grad()
    sharpness(number, bowl.backward)
    assert bowl.place.grad is not None
    return bowl.place.grad.clone()


def test_the_gradient_is_that_at_the_highest_point_nearby() -> None:
    bowl = Bowl()
    start = bowl.place.detach().clone()
    found = asked(bowl, SharpnessAware(bowl, rho=0.3, every=1), 0)
    usual = bowl.gradient(start)
    torch.testing.assert_close(found, bowl.gradient(start + 0.3 * usual / usual.norm()))
    assert torch.equal(bowl.place.detach(), start)  # to the bit


def test_the_loss_is_that_at_the_weights() -> None:
    bowl = Bowl()
    expected = bowl.backward()
    bowl.zero_grad()
    assert torch.equal(SharpnessAware(bowl, 0.3, 1)(0, bowl.backward), expected)


def test_between_two_looks_the_sideways_part_of_the_last_is_added() -> None:
    bowl = Bowl()
    sharpness = SharpnessAware(bowl, rho=0.3, every=2)
    above, usual = asked(bowl, sharpness, 0), bowl.gradient(bowl.place.detach())
    sideways = above - (above @ usual) / (usual @ usual) * usual
    with torch.no_grad():
        bowl.place += torch.tensor([0.5, 0.25])
    later = bowl.gradient(bowl.place.detach())
    expected = later + SHARE * later.norm() * sideways / sideways.norm()
    torch.testing.assert_close(asked(bowl, sharpness, 1), expected)
    assert abs(float(sharpness.sideways[0] @ usual)) < 1e-9


def test_passes_a_step_are_two_where_it_looks_and_one_between() -> None:
    bowl = Bowl()
    sharpness = SharpnessAware(bowl, rho=0.3, every=3)
    passes = []
    for number in range(6):
        count = 0

        def backward() -> None:
            nonlocal count
            count += 1
            bowl.backward()

        sharpness(number, backward)
        passes.append(count)
    assert passes == [2, 1, 1, 2, 1, 1]


def test_a_state_goes_on_as_if_it_had_not_been_interrupted() -> None:
    bowl = Bowl()
    sharpness = SharpnessAware(bowl, rho=0.3, every=2)
    asked(bowl, sharpness, 0)
    resumed = SharpnessAware(bowl, rho=0.3, every=2)
    resumed.load_state_dict(sharpness.state_dict())
    assert torch.equal(asked(bowl, resumed, 1), asked(bowl, sharpness, 1))


def test_where_all_gradients_are_zero_nothing_moves() -> None:
    bowl = Bowl()
    with torch.no_grad():
        bowl.place.zero_()
    assert torch.equal(asked(bowl, SharpnessAware(bowl, 0.3, 2), 0), torch.zeros(2).double())


def test_batch_norms_count_a_batch_once() -> None:
    norm = nn.BatchNorm1d(2)
    values = torch.tensor([[1.0, 2.0], [3.0, 5.0]])

    def statistics(step: Callable[[Callable[[], None]], object]) -> tuple[Tensor, Tensor]:
        norm.reset_running_stats()
        step(lambda: norm(values).square().sum().backward())
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return norm.running_mean.clone(), norm.running_var.clone()

    sharpness = SharpnessAware(norm, rho=0.3, every=1)
    once = statistics(lambda backward: backward())
    twice = statistics(lambda backward: sharpness(0, backward))
    for one, other in zip(once, twice, strict=True):
        assert torch.equal(one, other)
    assert norm.momentum == 0.1


@pytest.mark.parametrize("every", [1, 3])
def test_the_length_of_the_climb_is_rho(every: int) -> None:
    bowl = Bowl()
    places = []

    def backward() -> None:
        places.append(bowl.place.detach().clone())
        bowl.backward()

    SharpnessAware(bowl, rho=0.3, every=every)(0, backward)
    assert float((places[1] - places[0]).norm()) == pytest.approx(0.3)
