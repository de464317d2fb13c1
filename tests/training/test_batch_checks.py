"""Batches that can be cut up over ranks and into parts, and what is said of the others."""

from typing import Any

import pytest

from mlpmixer.errors import UsageError
from mlpmixer.ranks import Ranks
from mlpmixer.training.batch_checks import check_batch, check_parts
from mlpmixer.training.recipe import Recipe


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"accumulate": 5}, "--accumulate 5 does not divide the batch size 32: use --accumulate 4"),
        ({"accumulate": 64}, "use --accumulate 32"),
        ({"repeats": 3}, "--repeats 3 does not divide the batch size 32: use --batch-size 33"),
    ],
)
def test_batches_that_parts_do_not_divide_are_refused(options: dict[str, int], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_parts(Recipe().override({"batch_size": 32, **options}))


@pytest.mark.parametrize(
    ("options", "world", "told"),
    [
        ({"batch_size": 32}, 3, "use 2 ranks, or --batch-size 33."),
        ({"batch_size": 32, "accumulate": 16}, 4, "in 16 parts each: use 2 ranks, or --batch-size"),
        (
            {"batch_size": 32, "mixup_alpha": 0.2, "mixup_probability": 0.5},
            8,
            "whose images are mixed: use 4 ranks, or --batch-size 64.",
        ),
    ],
)
def test_batches_that_ranks_cannot_share_are_refused(
    options: dict[str, Any], world: int, told: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        check_batch(Recipe().override(options), Ranks(0, world))
    assert told in str(refusal.value)
    assert f"{world} ranks cannot share batches of 32" in str(refusal.value)


@pytest.mark.parametrize("world", [3, 6, 8, 128])
@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_the_batch_that_is_offered_can_be_shared(world: int, mixup: float) -> None:
    recipe = Recipe().override({"batch_size": 20, "mixup_alpha": mixup, "cutmix_alpha": mixup})
    with pytest.raises(UsageError) as refusal:
        check_batch(recipe, Ranks(0, world))
    words = str(refusal.value).rstrip(".").split(", or ")[1].split()
    names = [word.removeprefix("--").replace("-", "_") for word in words[::2]]
    offered = dict(zip(names, map(float, words[1::2]), strict=True))
    check_batch(
        recipe.override({**offered, "batch_size": int(offered["batch_size"])}), Ranks(0, world)
    )


@pytest.mark.parametrize("world", [1, 2, 4])
def test_batches_that_ranks_can_share_pass(world: int) -> None:
    mixing = {"mixup_alpha": 0.2, "mixup_probability": 0.5}
    check_batch(Recipe().override({"batch_size": 32, "accumulate": 8, **mixing}), Ranks(0, world))
