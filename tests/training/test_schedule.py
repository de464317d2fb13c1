"""How long a training lasts, and the learning rate on the way."""

import pytest

from mlpmixer.training.recipe import Recipe, ScheduleOptions
from mlpmixer.training.schedule import Schedule, learning_rate_factor


@pytest.mark.parametrize(("shape", "middle"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)])
def test_the_learning_rate_rises_and_falls_as_asked(shape: str, middle: float) -> None:
    options = ScheduleOptions(schedule=shape, warmup=0.2)
    assert learning_rate_factor(0.1, options) == pytest.approx(0.5)
    assert learning_rate_factor(0.2, options) == pytest.approx(1.0)
    assert learning_rate_factor(0.6, options) == pytest.approx(middle)
    last = 1.0 if shape == "constant" else 0.0
    assert learning_rate_factor(1.0, options) == pytest.approx(last)


def test_the_learning_rate_ends_at_the_share_that_is_asked_for() -> None:
    options = ScheduleOptions(schedule="linear", warmup=0.0, final_learning_rate=0.01)
    assert learning_rate_factor(1.0, options) == pytest.approx(0.01)


def test_a_budget_in_steps_is_spent_by_steps_and_one_in_minutes_by_the_clock() -> None:
    recipe = Recipe().override({"batch_size": 10})
    steps = Schedule.of(recipe.override({"steps": 40}), images=100)
    assert [steps.share_done(step, seconds=1e6) for step in (0, 10, 40, 50)] == [0, 0.25, 1, 1]
    clock = Schedule.of(recipe.override({"minutes": 2}), images=100)
    assert [clock.share_done(1000, seconds) for seconds in (0, 30, 120, 500)] == [0, 0.25, 1, 1]


def test_epochs_become_steps_of_whole_batches() -> None:
    recipe = Recipe().override({"batch_size": 30, "epochs": 2.5})
    assert Schedule.of(recipe, images=100).steps == round(2.5 * 3)


@pytest.mark.parametrize("budget", [{"steps": 100}, {"minutes": 1}])
def test_a_warm_up_in_steps_lasts_that_many_steps(budget: dict[str, float]) -> None:
    recipe = Recipe().override({"batch_size": 10, "warmup_steps": 4, **budget})
    schedule = Schedule.of(recipe, images=100)
    rates = [schedule.learning_rate_factor(step, step * 0.6) for step in range(6)]
    assert rates[:4] == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert rates[4] > rates[5] > 0.9
