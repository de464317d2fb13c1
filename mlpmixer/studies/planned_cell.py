"""A training as a part of a cell: what decides on its result, and whether it can be done."""

from dataclasses import asdict
from typing import Any

from mlpmixer.errors import UsageError
from mlpmixer.runtime import Runtime
from mlpmixer.training.plan import Plan, plan
from mlpmixer.training.recipe import Recipe

_WITHOUT_INFLUENCE = ("workers", "cache", "max_unreadable")


def recipe_settings(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return what of a recipe has influence on a result, as "NAME.FIELD": value."""
    values = {field: value for group in asdict(recipe).values() for field, value in group.items()}
    return {
        f"{name}.{field}": value
        for field, value in values.items()
        if field not in _WITHOUT_INFLUENCE
    }


def planned_as(name: str, recipe: Recipe, runtime: Runtime) -> Plan:
    """Return the plan of a training.

    Raises:
        UsageError: it cannot be done; the message begins with `name`.
    """
    try:
        return plan(recipe, runtime)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def need_validation(planned: Plan, purpose: str) -> None:
    """Raise UsageError where a training has no validation images, which are there to `purpose`."""
    if "validation" not in planned.dataset.splits:
        raise UsageError(
            f"{planned.recipe.data.data} has no validation images to {purpose} by: set "
            "validation_fraction = 0.1 in the recipe file that --recipe names."
        )
