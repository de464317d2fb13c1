"""Whether a recipe's batch can be cut up: over ranks, into parts, into views of one image."""

from mlpmixer.data.mixing import mixing_groups
from mlpmixer.errors import UsageError
from mlpmixer.ranks import Ranks
from mlpmixer.training.recipe import Recipe


def check_parts(recipe: Recipe) -> None:
    """Raise UsageError where --accumulate or --repeats does not divide the batch."""
    batch, parts = recipe.optimizer.images_a_step, recipe.optimizer.accumulate
    repeats = recipe.augment.repeats
    if batch % parts:
        fitting = max(n for n in range(1, min(parts, batch + 1)) if batch % n == 0)
        raise UsageError(
            f"--accumulate {parts} does not divide the batch size {batch}: "
            f"use --accumulate {fitting}."
        )
    if batch % repeats:
        raise UsageError(
            f"--repeats {repeats} does not divide the batch size {batch}: use "
            f"--batch-size {_next(batch, repeats)}."
        )


def check_batch(recipe: Recipe, ranks: Ranks) -> None:
    """Raise UsageError where the ranks cannot share the recipe's batches, with those that can."""
    batch, parts = recipe.optimizer.images_a_step, recipe.optimizer.accumulate
    augment, world = recipe.augment, ranks.world
    mixes = bool(augment.mixup_share or augment.cutmix_share)
    whole = mixing_groups(batch) if mixes else batch
    if batch % parts:
        return  # no matter of ranks: `check_parts` says so
    if whole % world == 0 and batch % (world * parts) == 0:
        return
    fitting = [n for n in range(1, world) if whole % n == 0 and batch % (n * parts) == 0]
    each = f" in {parts} parts each" if parts > 1 else ""
    why = " whose images are mixed" if mixes else ""
    unit = world * parts
    instead = _fitting_batch(batch, unit, world) if mixes else f"--batch-size {_next(batch, unit)}"
    raise UsageError(
        f"{world} ranks cannot share batches of {batch}{each}{why}: use {fitting[-1]} ranks, or "
        f"{instead}."
    )


def _fitting_batch(batch: int, unit: int, world: int) -> str:
    """Return the options of the next batch that the ranks can share mixed, unmixed where none."""
    first = _next(batch, unit)
    for size in range(first, first + 1000 * unit, unit):
        if mixing_groups(size) % world == 0:
            return f"--batch-size {size}"
    return f"--mixup-alpha 0 --cutmix-alpha 0 --batch-size {first}"


def _next(batch: int, unit: int) -> int:
    return -(-batch // unit) * unit
