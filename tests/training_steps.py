"""Watching the steps of trainings from outside, and pressing Ctrl-C in one of them."""

import os
import signal

import pytest
from torch import Tensor

from mlpmixer.training.step import StepResult, TrainingStep


class TrainingSteps:
    """The training steps that this process makes, by their numbers."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.maker: TrainingStep | None = None
        """What made the latest one."""
        self.interrupt_at: int | None = None
        """Press Ctrl-C in the step that makes it so many."""


@pytest.fixture
def training_steps(monkeypatch: pytest.MonkeyPatch) -> TrainingSteps:
    """Count the steps of all trainings, and interrupt them where the test asks for it."""
    steps, make = TrainingSteps(), TrainingStep.__call__

    def counted(
        self: TrainingStep,
        images: Tensor,
        targets: Tensor,
        number: int,
        factor: float,
        teacher_logits: Tensor | None = None,
    ) -> StepResult:
        steps.taken.append(number)
        steps.maker = self
        if len(steps.taken) == steps.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return make(self, images, targets, number, factor, teacher_logits)

    monkeypatch.setattr(TrainingStep, "__call__", counted)
    return steps
