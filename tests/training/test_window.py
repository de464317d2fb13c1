"""What a window of steps tells, and which of its steps are bad."""

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
