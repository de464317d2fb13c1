"""How long a training will take, from a few of its own steps."""

import time

from mlpmixer.runtime import keep_freed_memory
from mlpmixer.training.plan import Plan
from mlpmixer.training.trial import Trial

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
    keep_freed_memory()
    trial, runtime = Trial(planned, keep=False), planned.runtime
    images = planned.recipe.optimizer.images_a_step
    begun = time.perf_counter()
    for number in range(WARM_UP + MEASURED):
        if number == WARM_UP:
            runtime.synchronize()
            begun = time.perf_counter()
        trial(images, number)
    runtime.synchronize()
    return (time.perf_counter() - begun) / MEASURED
