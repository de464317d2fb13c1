"""Steps of a planned training that are made to see what they take, not to train."""

import copy

import torch

from mlpmixer.data.augment import Augmenter
from mlpmixer.randomness import generator
from mlpmixer.runtime import Runtime
from mlpmixer.training.plan import Plan
from mlpmixer.training.step import TrainingStep


class Trial:
    """The trainer's own step on random crops, so that what costs there does so here.

    A rank makes it by itself, without the others.

    Args:
        planned: the training.
        keep: whether the plan's model stays as it is, for the memory of a copy.
    """

    def __init__(self, planned: Plan, *, keep: bool) -> None:
        runtime, model = planned.runtime, planned.model
        self.runtime = Runtime(runtime.device, runtime.precision)
        self._step = TrainingStep(
            copy.deepcopy(model) if keep else model, planned.recipe, self.runtime
        )
        self._augmenter = Augmenter(planned.recipe.augment, model.num_classes)
        self._model, self._teacher = model, planned.teacher

    def __call__(self, images: int, number: int) -> None:
        """Make a step on so many images; what is drawn follows from its number."""
        shape, device = (images, 3, *self._model.image_size), self.runtime.device
        pixels = torch.randint(256, shape, dtype=torch.uint8, device=device)
        labels = torch.arange(images, device=device) % self._model.num_classes
        chance = generator(0, "estimate", number)
        inputs, targets = self._augmenter(pixels, labels, chance)
        teacher_logits = None if self._teacher is None else self._teacher(inputs)
        self._step(inputs, targets, number, 1.0, teacher_logits)
