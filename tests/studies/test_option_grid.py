"""A grid of options: from a TOML file to candidates."""

from pathlib import Path

import pytest

from mlpmixer.errors import UsageError
from mlpmixer.studies.option_grid import INCLUDED, OptionGrid, find_grid, read_grid
from mlpmixer.training.recipe import Recipe

BASE = Recipe()


def written(path: Path, text: str) -> OptionGrid:
    file = path / "grid.toml"
    file.write_text(text)
    return read_grid(file)


def test_candidates_are_all_combinations_and_the_recipe_as_it_is(tmp_path: Path) -> None:
    grid = written(tmp_path, "[grid]\nerase = [0, 0.25]\nweight-decay = [0.05, 0.1, 0.2]\n")
    found = grid.candidates(BASE)
    assert [one.name for one in found] == [
        *("as-it-is", "weight_decay=0.1", "weight_decay=0.2"),
        *("erase=0.25", "erase=0.25+weight_decay=0.1", "erase=0.25+weight_decay=0.2"),
    ]
    assert found[0].places == (0, 0)
    assert found[5].changes == {"erase": 0.25, "weight_decay": 0.2}
    assert found[5].places == (1, 2)


def test_a_field_that_takes_the_place_of_another_is_a_change(tmp_path: Path) -> None:
    """A share of warm-up that the recipe has anyway, but not in use beside its number of steps."""
    base = BASE.override({"warmup_steps": 100})
    found = written(tmp_path, "[grid]\nwarmup = [0.05, 0.2]\nerase = [0, 0.1]\n").candidates(base)
    assert base.schedule.warmup == 0.05
    assert [one.name for one in found][:3] == [
        *("as-it-is", "warmup=0.05+erase=0.0", "warmup=0.05+erase=0.1")
    ]
    assert found[0].places is None
    assert base.override(found[1].changes).schedule.warmup_steps is None


def test_the_recipe_as_it_is_stands_beside_a_grid_without_it(tmp_path: Path) -> None:
    found = written(tmp_path, "[grid]\nerase = [0.1, 0.2]\n").candidates(BASE)
    assert [one.name for one in found] == ["as-it-is", "erase=0.1", "erase=0.2"]
    assert found[0].places is None


def test_options_that_belong_together_are_taken_together(tmp_path: Path) -> None:
    text = "[grid]\nmixing = [{}, { mixup_alpha = 0.2 }, { mixup_alpha = 0.2, cutmix_alpha = 1 }]\n"
    found = written(tmp_path, text).candidates(BASE)
    assert [dict(one.changes) for one in found] == [
        {},
        {"mixup_alpha": 0.2},
        {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
    ]


def test_values_are_read_as_the_recipes_types_say(tmp_path: Path) -> None:
    text = '[grid]\ncrop_scale = [[0.35, 1], [0.5, 1.0]]\noptimizer = ["sgd"]\n'
    found = written(tmp_path, text).candidates(BASE)
    assert found[1].changes == {"crop_scale": (0.35, 1.0), "optimizer": "sgd"}
    assert found[1].name == "crop_scale=0.35-1.0+optimizer=sgd"


def test_some_combinations_of_a_large_grid_are_drawn_always_the_same(tmp_path: Path) -> None:
    values = ", ".join(f"{n / 100}" for n in range(100))
    rows = "\n".join(f"{name} = [{values}]" for name in ("erase", "flip", "dropout", "momentum"))
    grid = written(tmp_path, f"[grid]\n{rows}\n")
    assert grid.combinations == 100**4
    with pytest.raises(UsageError, match=r"100,000,000 combinations: .* --candidates 27"):
        grid.candidates(BASE)
    found = grid.candidates(BASE, 10)
    assert len(found) == 11
    assert found == grid.candidates(BASE, 10)
    assert len({one.changes["flip"] for one in found[1:]}) > 5


def test_names_of_many_changes_are_short_and_differ() -> None:
    axes = {"model": ({"model": "timm:" + "x" * 300},), "erase": ({"erase": 0.1}, {"erase": 0.2})}
    names = [one.name for one in OptionGrid(axes).candidates(BASE)]
    assert len(set(names)) == 3
    assert all(len(name) <= 120 and ":" not in name for name in names)


def test_the_included_grids_are_read_by_name() -> None:
    for name in INCLUDED:
        found = find_grid(name).candidates(Recipe(), 20)
        assert len(found) >= 20
    varied = {field for one in find_grid("small_mixer").axes.values() for f in one for field in f}
    assert varied >= {"mixup_alpha", "cutmix_alpha", "randaugment_operations", "weight_decay"}
    assert varied >= {"stochastic_depth", "erase", "label_smoothing", "repeats", "sam_rho"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'write "\\[grid\\]"'),
        ("[grid]\n", 'write "\\[grid\\]"'),
        ("[grd]\nerase = [0]\n", "unknown key 'grd'. Did you mean grid"),
        ("[grid]\nmixup_alfa = [0.2]\n", "unknown recipe field 'mixup_alfa'. Did you mean mixup_a"),
        ("[grid]\nerase = [0, 2]\n", "erase = 2.0 is out of range: give 0 to 1"),
        ("[grid]\nerase = ['much']\n", "erase = 'much' is of the wrong type"),
        ("[grid]\nerase = 0.2\n", "erase needs a list of values to try, not 0.2"),
        ("[grid]\nerase = []\n", "erase needs a list of values to try"),
        (
            "[grid]\nepochs = [3, 4]\n",
            "epochs is the same for all candidates: choose it on the command line",
        ),
        ("[grid]\nseed = [3, 4]\n", "seed is the same for all"),
        ("[grid]\nx = [{ erase = 0.1 }]\nerase = [0.2]\n", "erase is varied by x and by erase"),
        ("[grid]\nmixing = [{}, 0.2]\n", "unknown recipe field 'mixing'"),
    ],
)
def test_a_wrong_grid_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        written(tmp_path, text)


def test_a_grid_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown grid 'small_mixr'. Did you mean small_mixer"):
        find_grid("small_mixr")
