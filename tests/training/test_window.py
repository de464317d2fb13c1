"""What a window of steps tells, and which of its steps are bad."""

import pytest
import torch

from mlpmixer.runtime import Runtime
from mlpmixer.training.step import StepResult
from mlpmixer.training.window import Window


def test_a_loss_near_zero_at_the_start_makes_no_hard_batch_an_explosion() -> None:
    window, nothing = Window(Runtime(torch.device("cpu"))), torch.zeros(())
    window.add(0, StepResult(torch.tensor(0.9), nothing, nothing), torch.arange(2))
    assert window.bad_step(0.001) is None
    window.add(1, StepResult(torch.tensor(10.5), nothing, nothing), torch.arange(2))
    found = window.bad_step(0.001)
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize("norm", [torch.nan, torch.inf])
def test_a_gradient_that_is_no_number_makes_a_bad_step(norm: float) -> None:
    window, nothing = Window(Runtime(torch.device("cpu"))), torch.zeros(())
    window.add(3, StepResult(torch.tensor(0.9), nothing, torch.tensor(1.0)), torch.arange(2))
    window.add(4, StepResult(torch.tensor(0.9), nothing, torch.tensor(norm)), torch.arange(2))
    found = window.bad_step(1.0)
    assert found is not None
    assert found.step == 4
