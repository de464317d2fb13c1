"""Numbers at both ends of their ranges: trained with, or refused in words, but no traceback."""

from typing import Any, get_args

import pytest
import torch

from mlpmixer.cli.main import main
from mlpmixer.errors import UsageError
from mlpmixer.memory import free_memory
from mlpmixer.models.presets import mixer_config
from mlpmixer.runtime import Runtime
from mlpmixer.training.memory_check import OF_A_MOVED_WEIGHT, check_memory
from mlpmixer.training.plan import plan
from mlpmixer.training.recipe import Recipe, flat_fields
from mlpmixer.training.recipes import find_recipe
from mlpmixer.training.trial import Trial
from mlpmixer.values import flag, range_of

NEEDED: dict[str, dict[str, Any]] = {
    "matrix_learning_rate": {"optimizer": "muon"},
    "momentum": {"optimizer": "sgd"},
    "cutmix_probability": {"cutmix_alpha": 1.0},
    "mixup_probability": {"mixup_alpha": 1.0},
    "randaugment_magnitude": {"randaugment_operations": 2},
    "shuffle_patch_size": {"input_shuffle": "patches"},
    "sam_every": {"sam_rho": 0.1},
    "crop_scale": {"crop": "inception"},
}
"""What a field is of use with."""


def parts(annotation: Any) -> list[Any]:
    return [annotation, *(one for argument in get_args(annotation) for one in parts(argument))]


def ends() -> list[tuple[str, Any]]:
    """Return each number of a recipe at both ends of its range."""
    found: list[tuple[str, Any]] = []
    for name, (_, annotation) in flat_fields().items():
        limits = range_of(annotation)
        if limits is None:
            continue
        lowest = 5e-324 if limits.ge is None else limits.ge  # the smallest number above 0
        highest = limits.le
        if limits.lt is not None:
            highest = limits.lt - 2**-53
        if highest is None:  # the seed's
            highest = 2**80
        pair = name in ("betas", "crop_scale")
        kind = int if int in parts(annotation) else float
        found += [(name, [kind(end)] * 2 if pair else kind(end)) for end in (lowest, highest)]
    return found


ENDS = ends()


@pytest.mark.parametrize(("name", "value"), ENDS, ids=[f"{name}={end}" for name, end in ENDS])
def test_a_training_takes_a_step_at_the_ends_of_each_range_or_says_why_not(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpmixer.training.memory_check.free_memory", lambda device: 100_000_000)
    recipe = find_recipe("quick").override({"data": "digits", "steps": 2, "model": "mixer_nano"})
    recipe = recipe.override({"depth": 1, "batch_size": 8, "workers": 0, **NEEDED.get(name, {})})
    planned, refusal = None, ""
    try:
        planned = plan(recipe.override({name: value}), Runtime.choose("cpu", "float32"))
    except UsageError as error:
        refusal = str(error)
    if planned is None:
        shown = {str(value)} if isinstance(value, list) else {str(value), f"{value:g}"}
        assert flag(name) in refusal or any(one in refusal for one in shown)
    elif name not in ("batch_size", "image_size"):
        Trial(planned, keep=False)(8, 0)
        assert all(one.isfinite().all() for one in planned.model.parameters())


def test_all_ends_of_ranges_are_numbers_that_are_computed_with() -> None:
    assert {name for name, _ in ENDS} >= {"epochs", "learning_rate", "head_bias", "width", "ema"}
    for name, (_, annotation) in flat_fields().items():
        if (limits := range_of(annotation)) is not None and name != "seed":
            assert limits.le is not None or limits.lt is not None, name
            assert limits.ge is not None or limits.gt is not None, name


def test_a_mixer_that_does_not_fit_in_memory_is_refused_with_a_depth_that_does() -> None:
    shape = mixer_config("mixer_b16", None, 10)
    with pytest.raises(UsageError, match=r"takes at least [\d.]+ GB .*: use --depth \d+ or less"):
        check_memory(mixer_config("mixer_b16", None, 10, depth=10_000), moved=True)
    check_memory(shape, moved=False)


def test_the_depth_that_is_named_fits_and_one_more_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = (parameters(depth) for depth in (1, 2))
    free = OF_A_MOVED_WEIGHT * (one + 3 * (two - one)) + 5
    monkeypatch.setattr("mlpmixer.training.memory_check.free_memory", lambda device: free)
    check_memory(mixer_config("mixer_nano", None, 10, depth=4), moved=True)
    with pytest.raises(UsageError, match="--depth 4 or less"):
        check_memory(mixer_config("mixer_nano", None, 10, depth=5), moved=True)
    monkeypatch.setattr("mlpmixer.training.memory_check.free_memory", lambda device: one)
    with pytest.raises(UsageError, match="a smaller --width"):
        check_memory(mixer_config("mixer_nano", None, 10, depth=5), moved=True)
    assert free_memory(torch.device("cpu")) > 0


def parameters(depth: int) -> int:
    recipe = Recipe().override(
        {"data": "digits", "model": "mixer_nano", "depth": depth, "steps": 1}
    )
    recipe = recipe.override({"image_size": 32})
    model = plan(recipe, Runtime.choose("cpu", "float32")).model
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 GiB"),
        RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9000 bytes."
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lack_of_memory_is_told_in_a_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("mlpmixer.cli.main.run_verb", fail)
    assert main(["train"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mixer: the memory does not suffice")
    with pytest.raises(type(error)):
        main(["train", "--debug"])


def test_an_error_that_is_not_of_memory_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("mlpmixer.cli.main.run_verb", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["train"])
