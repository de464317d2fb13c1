"""`--batch-size auto`: the largest batch that fits, and a recipe that says which it was."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import on_ranks
from safetensors.torch import load_file

from mlpmixer.errors import UsageError
from mlpmixer.ranks import Ranks
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.training import batch_size
from mlpmixer.training.batch_size import SLOW, DoesNotFit, StepCost, largest, smallest_batch
from mlpmixer.training.plan import plan
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.train import train

CPU = Runtime(torch.device("cpu"))
TINY = {
    "steps": 4,
    "batch_size": "auto",
    "depth": 1,
    "width": 16,
    "tokens_mlp_dim": 8,
    "channels_mlp_dim": 32,
    "patch_size": 2,
    "evaluations": 1,
    "ema": 0.0,
    "workers": 1,
}
SIZES = [1, 2, 4, 8, 16, 32]


def recipe(**changes: object) -> Recipe:
    return find_recipe("quick").override({**TINY, **changes})


def trained(out: Path, runtime: Runtime = CPU, **changes: object) -> str:
    """Train, and return what was said."""
    said = io.StringIO()
    train(recipe(**changes), out, Console("plain", out=said, err=said), runtime)
    return said.getvalue()


def settled(out: Path) -> int:
    return Recipe.from_toml(out / "recipe.toml").optimizer.images_a_step


def taking(
    kept: float, each: float, seconds: float = 0.0, there: float = float("inf")
) -> tuple[Callable[[int], StepCost], list[int]]:
    """Return steps that take `kept` bytes and `each` an image, and the sizes that were tried."""
    tried: list[int] = []

    def step(images: int) -> StepCost:
        tried.append(images)
        used = kept + each * images
        if used > there:
            raise DoesNotFit
        return StepCost(images, used, seconds * images)

    return step, tried


def test_the_largest_size_that_fits_is_found_without_trying_one_that_does_not() -> None:
    step, tried = taking(kept=100, each=10)
    assert largest(SIZES, 300, step).images == 16
    assert tried == [1, 2, 4, 8, 16]
    step, tried = taking(kept=100, each=10)
    assert largest(SIZES, 1e6, step).images == 32


def test_memory_that_runs_out_ends_the_search() -> None:
    step, tried = taking(kept=100, each=10, there=150)
    assert largest(SIZES, 1e6, step).images == 4
    assert tried == [1, 2, 4, 8]
    step, _ = taking(kept=100, each=10)
    with pytest.raises(DoesNotFit):
        largest(SIZES, 105, step)


def test_slow_sizes_are_judged_by_the_forecast() -> None:
    step, tried = taking(kept=100, each=10, seconds=SLOW / 5)
    found = largest(SIZES, 300, step)
    assert (found.images, tried) == (16, [1, 2, 4])
    assert found.used == pytest.approx(260)


def test_a_slow_first_size_is_not_taken_for_what_larger_ones_need() -> None:
    """Of one size alone it cannot be told what weights and moments take."""
    step, tried = taking(kept=100, each=1, seconds=2 * SLOW)
    assert largest(SIZES, 300, step).images == 32
    assert tried == [1, 2]


def test_the_settled_batch_is_in_the_recipe_and_the_training_is_that_of_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = trained(tmp_path / "auto")
    assert settled(tmp_path / "auto") == 128  # an eighth of the 1295 images are 161
    assert "batches of 128 images: the largest that auto takes here; a step takes " in said
    assert "batches of" not in trained(tmp_path / "given", batch_size=128)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("auto", "given"))
    assert all(torch.equal(one[name], other[name]) for name in one)

    def settle(*_: Any) -> None:
        pytest.fail("a resumed run measured again")

    monkeypatch.setattr("mlpmixer.training.train.settle_batch_size", settle)
    stored = Recipe.from_toml(tmp_path / "auto" / "recipe.toml")
    assert train(stored, tmp_path / "auto", Console.silent(), CPU, resume=True)["finished"]


def test_less_memory_gives_a_smaller_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, _ = taking(kept=100, each=10)
    monkeypatch.setattr(batch_size, "measured_steps", lambda _: step)
    monkeypatch.setattr(batch_size, "free_memory", lambda _: 500)
    said = trained(tmp_path / "run")
    assert settled(tmp_path / "run") == 16
    assert "twice as many would not fit; a step takes 0 MB of the 0 MB that are free" in said
    trained(tmp_path / "parts", accumulate=3)
    assert settled(tmp_path / "parts") == 24
    trained(tmp_path / "copies", repeats=3)
    assert settled(tmp_path / "copies") == 24


def test_a_step_that_cannot_fit_is_told_with_its_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, _ = taking(kept=9e6, each=10)
    monkeypatch.setattr(batch_size, "measured_steps", lambda _: step)
    monkeypatch.setattr(batch_size, "free_memory", lambda _: 8_000_000)
    told = "a batch of 1 takes 9 MB, of 8 MB that are free: use --grad-checkpointing"
    with pytest.raises(UsageError, match=told):
        trained(tmp_path / "run")


def agreed(ranks: Ranks, out: str, **changes: object) -> None:
    """Train on ranks of which the last one has less memory."""
    batch_size.free_memory = lambda _: 1000 * ranks.world if ranks.leads else 500 * ranks.world  # type: ignore[assignment]
    step, _ = taking(kept=100, each=10)
    batch_size.measured_steps = lambda _: step  # type: ignore[assignment]
    train(recipe(**changes), Path(out), Console.silent(), Runtime(CPU.device, ranks=ranks))


def test_ranks_agree_on_what_fits_everywhere(tmp_path: Path) -> None:
    on_ranks(2, agreed, str(tmp_path / "run"))
    assert settled(tmp_path / "run") == 2 * 16


@pytest.mark.parametrize("world", [2, 4, 8])
def test_every_size_can_be_shared_by_the_ranks(world: int) -> None:
    mixed = recipe(mixup_alpha=0.2)
    smallest = smallest_batch(mixed, Ranks(0, world)).optimizer.images_a_step
    assert smallest == 8 * world


def test_ranks_that_can_share_no_batch_are_told() -> None:
    with pytest.raises(UsageError, match="3 ranks cannot share batches"):
        smallest_batch(recipe(mixup_alpha=0.2), Ranks(0, 3))


def test_auto_is_for_a_training_alone() -> None:
    with pytest.raises(UsageError, match="--batch-size auto is for `mixer train`"):
        plan(recipe(), CPU)


@pytest.mark.parametrize("value", ["most", 0, 2.5])
def test_another_value_is_named(value: object) -> None:
    with pytest.raises(
        UsageError, match=r"batch_size = .*: give (1 to 1 billion|a whole number or auto)"
    ):
        Recipe().override({"batch_size": value})
