"""Recipes: the paper's numbers, files and overrides."""

import re
from pathlib import Path

import pytest

from mlpmixer.cli.main import main
from mlpmixer.errors import UsageError
from mlpmixer.training.recipe import Recipe, ScheduleOptions, check_budget, flat_fields
from mlpmixer.training.recipes import RECIPES, find_recipe, purposes
from mlpmixer.training.schedule import Schedule


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_survives_a_file(name: str, tmp_path: Path) -> None:
    recipe = find_recipe(name)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert find_recipe(str(path)) == recipe
    check_budget(recipe.schedule)


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_says_what_it_is_for_and_where_it_is_from(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = RECIPES[name].read_text().splitlines()
    assert lines[1].startswith("# Source: ")
    assert any(line.startswith("# Result: ") for line in lines)
    assert main(["train", "--help"]) == 0
    told = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert f"{name}: {purposes()[name]}" in told


def test_the_imagenet_recipe_has_the_released_hyperparameters() -> None:
    recipe = find_recipe("pretrain_imagenet")
    assert recipe.loss.loss == "sigmoid"
    assert recipe.model.head_bias == -6.9
    assert recipe.model.stochastic_depth == 0.1
    assert recipe.optimizer.learning_rate * recipe.schedule.final_learning_rate == pytest.approx(
        1e-5
    )
    assert recipe.optimizer.learning_rate * recipe.optimizer.weight_decay == pytest.approx(1e-4)
    assert (recipe.optimizer.batch_size, recipe.schedule.epochs) == (4096, 300)
    assert (recipe.augment.randaugment_operations, recipe.augment.randaugment_magnitude) == (2, 15)
    assert recipe.augment.mixup_alpha == 0.5
    assert recipe.schedule.warmup_steps == 10_000


def test_the_recipe_for_long_trainings_is_the_small_one_with_cutmix() -> None:
    changes = {"cutmix_alpha": 1.0, "cutmix_probability": 0.5, "epochs": 60.0}
    assert find_recipe("small_long") == find_recipe("small").override(changes)


def test_sharpness_aware_pre_training_changes_images_by_crops_and_flips_alone() -> None:
    recipe = find_recipe("pretrain_imagenet_sam")
    assert recipe.model.model == find_recipe("pretrain_imagenet").model.model
    assert recipe.optimizer.sam_rho > 0
    assert recipe.optimizer.sam_every == 1
    assert (recipe.optimizer.batch_size, recipe.schedule.epochs) == (4096, 300)
    augment = recipe.augment
    assert (augment.crop, augment.flip) == ("inception", 0.5)
    assert not any((augment.randaugment_operations, augment.mixup_alpha, augment.cutmix_alpha))
    assert not any((augment.erase, recipe.model.dropout, recipe.model.stochastic_depth))


def test_fine_tuning_uses_sgd_without_weight_decay() -> None:
    recipe = find_recipe("finetune")
    assert (recipe.optimizer.optimizer, recipe.optimizer.momentum) == ("sgd", 0.9)
    assert recipe.optimizer.weight_decay == 0
    assert (recipe.optimizer.batch_size, recipe.optimizer.clip_norm) == (512, 1.0)
    assert recipe.schedule.schedule == "cosine"


def test_field_names_are_unique_over_all_groups() -> None:
    groups = {group for group, _ in flat_fields().values()}
    assert groups == {
        *("model", "data", "augment", "optimizer", "schedule", "loss", "distillation", "compute"),
        "tracking",
    }
    with pytest.raises(UsageError, match="batch_size"):
        Recipe().override({"batchsize": 3})


def test_every_kind_of_value_survives_a_file(tmp_path: Path) -> None:
    changes = {
        "gelu": "tanh",
        "image_size": [32, 48],
        "dropout": 0.1,
        "depth": 3,
        "start_from": "runs/x",
        "compile": True,
        "crop_scale": [0.2, 1.0],
        "warmup_steps": 10,
        "minutes": 2,
    }
    recipe = Recipe().override(changes)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.from_toml(path) == recipe
    assert recipe.model.gelu == "tanh"
    assert recipe.model.image_size == (32, 48)


def test_a_new_budget_takes_the_place_of_the_old_one() -> None:
    recipe = Recipe().override({"epochs": 3}).override({"minutes": 5})
    assert recipe.schedule.epochs is None
    assert recipe.schedule.minutes == 5.0


@pytest.mark.parametrize(
    "schedule",
    [ScheduleOptions(), ScheduleOptions(epochs=1, steps=2)],
)
def test_a_budget_must_be_one(schedule: ScheduleOptions) -> None:
    with pytest.raises(UsageError, match=r"epochs|minutes"):
        check_budget(schedule)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rat = 0.1", "learning_rate"),
        ("learning_rate = 'high'", "'high'.*a number"),
        ("optimizer = 'adam'", "adamw"),
        ("gelu = 'than'", "tanh"),
        ("batch_size = 2.5", "2.5"),
        ("compile = 1", "wrong type"),
    ],
)
def test_a_wrong_line_in_a_recipe_file_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"epochs = 2\n{line}\n")
    with pytest.raises(UsageError, match=message) as error:
        find_recipe(str(path))
    assert "mine.toml" in str(error.value)


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(UsageError, match="small"):
        find_recipe("smal")


def test_the_papers_finetuning_fits_a_short_budget() -> None:
    short = find_recipe("finetune").override({"steps": 20, "batch_size": 16})
    assert Schedule.of(short, images=100).steps == 20
