"""The permutation study: three inputs, two models, one comparison."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mlpmixer.cli.main import main
from mlpmixer.studies.permutation import courses_apart, difference


@pytest.fixture
def command(tmp_path: Path, recipe: Path) -> list[str]:
    return [
        *("study", "permutation", "--data", "digits", "--recipe", str(recipe), "--steps", "4"),
        *("--models", "mixer_nano", "--out", str(tmp_path / "study")),
    ]


def test_each_input_is_trained_on_and_its_course_kept(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [cell["input"] for cell in found["results"]] == ["untouched", "patches", "pixels"]
    assert all([step for step, _ in cell["course"]] == [2, 4] for cell in found["results"])
    more = [*command[:-1], str(tmp_path / "other"), "--evaluations", "4"]
    assert main([*more, "--json"]) == 0
    others = json.loads(capsys.readouterr().out)["results"]
    assert all([step for step, _ in cell["course"]] == [1, 2, 3, 4] for cell in others)
    courses = (tmp_path / "study" / "data" / "courses.csv").read_text().splitlines()
    assert courses[0] == "model,input,seed,step,validation_accuracy"
    assert len(courses) == 1 + 3 * 2
    seen = np.load(tmp_path / "study" / "data" / "inputs.npz")
    for kind in ("patches", "pixels"):
        assert not np.array_equal(seen["untouched"], seen[kind])
        assert np.array_equal(np.sort(seen["untouched"], axis=None), np.sort(seen[kind], axis=None))
    recipes = [
        (tmp_path / "study" / "cells" / f"mixer_nano,{kind},seed=0" / "training" / "recipe.toml")
        for kind in ("untouched", "patches", "pixels")
    ]
    told = [file.read_text() for file in recipes]
    assert ["input_shuffle" in text for text in told] == [False, True, True]
    assert 'input_shuffle = "pixels"' in told[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minutes", "1"], "one budget"),
        (["--shuffle-patch-size", "3"], "--shuffle-patch-size"),
        (["--image-size", "9"], "mixer_nano, untouched: image size 9x9"),
        (["--models", "bit_nona"], "bit_nano"),
        (["--models"], "at least one model"),
        (["--evaluations", "0"], "--evaluations 1 or more"),
    ],
)
def test_wrong_use_is_named_before_the_work(
    command: list[str],
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def rows(images: int = 10_000, **accuracies: list[float]) -> list[dict[str, object]]:
    return [
        {"model": "m", "input": kind, "seed": seed, "accuracy": accuracy, "test_images": images}
        for kind, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def test_a_difference_is_told_from_chance() -> None:
    found = rows(untouched=[0.70, 0.71, 0.69], patches=[0.71, 0.69, 0.70], pixels=[0.5, 0.51, 0.49])
    alike, worse = difference(found, "m", "patches"), difference(found, "m", "pixels")
    assert alike is not None
    assert worse is not None
    assert not alike.distinguishable
    assert worse.distinguishable
    assert worse.mean == pytest.approx(0.2)
    # The images, the same for all seeds: sqrt(0.7·0.3/10,000 + 0.5·0.5/10,000) = 0.0068.
    assert worse.margin == pytest.approx(1.96 * 0.0068, rel=0.01)
    # The seeds: differences of -0.01, 0.02 and -0.01.
    student = 4.303  # 97.5 % quantile with two degrees of freedom
    by_images, by_seeds = 1.96 * (2 * 0.7 * 0.3 / 10_000) ** 0.5, student * 0.0173 / 3**0.5
    assert alike.margin == pytest.approx(math.hypot(by_images, by_seeds), rel=0.01)


def test_more_seeds_do_not_tell_apart_what_the_images_cannot() -> None:
    """Two kinds that are equally good on all images, and not on these 1,000."""
    seeds = 50
    found = rows(untouched=[0.712] * seeds, patches=[0.7] * seeds, images=1000)
    apart = difference(found, "m", "patches")
    assert apart is not None
    assert not apart.distinguishable


def test_courses_are_compared_at_all_validations_and_with_other_seeds() -> None:
    def row(kind: str, seed: int, course: list[list[float]]) -> dict[str, object]:
        return {"model": "m", "input": kind, "seed": seed, "course": course}

    untouched = row("untouched", 0, [[10, 0.2], [20, 0.4]])
    found = [untouched, row("patches", 0, [[10, 0.3], [20, 0.4]])]
    apart = courses_apart(found, "m", "patches")
    assert apart is not None
    assert apart.inputs == pytest.approx(0.05)
    assert apart.seeds is None
    apart = courses_apart([*found, row("untouched", 1, [[10, 0.2], [20, 0.6]])], "m", "patches")
    assert apart is not None
    assert apart.inputs == pytest.approx(0.05)
    assert apart.seeds == pytest.approx(0.1)
    assert courses_apart(found, "m", "pixels") is None


def test_only_seeds_with_both_inputs_are_compared() -> None:
    found = rows(untouched=[0.7, 0.9], patches=[0.6])
    compared = difference(found, "m", "patches")
    assert compared is not None
    assert compared.mean == pytest.approx(0.1)
    assert difference(found, "m", "pixels") is None


def test_data_without_validation_images_is_named_before_the_work(
    command: list[str], recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(recipe.read_text() + "validation_fraction = 0.0\n")
    assert main(command) == 2
    assert "digits has no validation images to follow the courses by" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
