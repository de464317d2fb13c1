"""How long a training will take, from a few of its steps."""

import time

import torch

from mlpmixer.runtime import autocast, keep_freed_memory
from mlpmixer.training.loss import classification_loss
from mlpmixer.training.optim import Optimizers
from mlpmixer.training.train import Plan
from mlpmixer.training.trainer import total_steps

WARM_UP, MEASURED = 2, 4


def training_seconds(planned: Plan) -> float:
    """Return about how many seconds the steps of a planned training take on this machine.

    Reading the data, validation and the final evaluation come on top. The plan's model is changed.
    """
    recipe = planned.recipe
    if recipe.schedule.minutes is not None:
        return 60 * recipe.schedule.minutes
    steps = total_steps(recipe, len(planned.dataset.splits["train"]))
    assert steps is not None
    return steps * step_seconds(planned)


def step_seconds(planned: Plan) -> float:
    """Return how many seconds a training step takes, measured on random images.

    The plan's model is changed by the steps.
    """
    recipe = planned.recipe
    keep_freed_memory()
    model = planned.model.train()
    batch = recipe.optimizer.batch_size
    images = torch.rand(batch, 3, *model.image_size, device=planned.device) * 2 - 1
    targets = torch.full((batch, model.num_classes), 1 / model.num_classes, device=planned.device)
    optimizers = Optimizers(model, recipe.optimizer)
    begun = time.perf_counter()
    for step in range(WARM_UP + MEASURED):
        if step == WARM_UP:
            begun = _now(planned.device)
        with autocast(planned.device, planned.precision):
            logits = model(images)
        classification_loss(logits, targets, recipe.loss).backward()
        optimizers.step(1.0)
    return (_now(planned.device) - begun) / MEASURED


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
