"""How long a training will take, from a few of its own steps."""

import time

import torch

from mlpmixer.data.augment import Augmenter
from mlpmixer.randomness import generator
from mlpmixer.runtime import keep_freed_memory
from mlpmixer.training.plan import Plan
from mlpmixer.training.step import TrainingStep

WARM_UP, MEASURED = 2, 4


def training_seconds(planned: Plan) -> float:
    """Return about how many seconds the steps of a planned training take on this machine.

    Reading the data, validation and the final evaluation come on top. The plan's model is changed.
    """
    if planned.schedule.options.minutes is not None:
        return 60 * planned.schedule.options.minutes
    assert planned.schedule.steps is not None
    return planned.schedule.steps * step_seconds(planned)


def step_seconds(planned: Plan) -> float:
    """Return how many seconds a training step takes, augmentation included, on random crops.

    It is the trainer's own step, so that what costs time and memory there does so here. The plan's
    model is changed by the steps.
    """
    recipe, runtime, model = planned.recipe, planned.runtime, planned.model
    keep_freed_memory()
    augmenter = Augmenter(recipe.augment, model.num_classes)
    step = TrainingStep(model, recipe, runtime)
    shape = (recipe.optimizer.batch_size, 3, *model.image_size)
    pixels = torch.randint(256, shape, dtype=torch.uint8, device=runtime.device)
    labels = torch.arange(len(pixels), device=runtime.device) % model.num_classes
    begun = time.perf_counter()
    for number in range(WARM_UP + MEASURED):
        if number == WARM_UP:
            runtime.synchronize()
            begun = time.perf_counter()
        images, targets = augmenter(pixels, labels, generator(0, "estimate", number))
        if planned.teacher is None:
            step(images, targets, number, 1.0)
        else:
            step(images, targets, number, 1.0, planned.teacher(images))
    runtime.synchronize()
    return (time.perf_counter() - begun) / MEASURED
