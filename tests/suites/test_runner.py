"""Running a suite: skipped, stored, interrupted and failed tasks."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_steps import TrainingSteps

import mlpmixer
from mlpmixer.data.options import DataOptions
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.suites import protocols
from mlpmixer.suites.definition import find_suite
from mlpmixer.suites.protocols import SuiteContext
from mlpmixer.suites.result import SuiteResult
from mlpmixer.suites.runner import run_suite
from mlpmixer.training.recipe import Recipe

SHORT = "batch_size = 64\nwarmup_steps = 1\nsteps = 4"
MEASURED = """
[[task]]
data = "digits"
protocol = "evaluate"
group = "as it is"
"""
PROBED = """
[[task]]
name = "probe"
data = "{photos}"
protocol = "fewshot"
shots = 5
image_size = 16
"""
TUNED = f"""
[[task]]
name = "tuned"
data = "{{photos}}"
protocol = "finetune"
{SHORT.replace("64", "8")}
image_size = 16
"""
VTAB = f"""
[[task]]
name = "vtab"
data = "digits"
protocol = "vtab1k"
{SHORT}
sweep = {{{{ learning_rate = [1e-50, 0.1] }}}}
"""


class Suites:
    """Writes suites, runs them on one small model and keeps what was said."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.out, self.photos, self.said = folder / "out", photos, ""
        self.file, self.model = folder / "mine.toml", folder / "model.safetensors"
        torch.manual_seed(0)
        shape = {"width": 16, "depth": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 32}
        model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, **shape)
        mlpmixer.save(model, self.model, tuple("0123456789"))

    def run(self, text: str, **options: Any) -> SuiteResult:
        self.file.write_text(text.format(photos=self.photos))
        stream = io.StringIO()
        setting = SuiteContext(
            str(self.model), DataOptions(workers=1), Runtime(torch.device("cpu"))
        )
        console = Console("plain", out=stream, err=stream)
        try:
            return run_suite(find_suite(str(self.file)), setting, self.out, console, **options)
        finally:
            self.said = stream.getvalue()

    def results(self) -> list[Path]:
        return sorted(self.out.glob("*/result.json"))


@pytest.fixture
def suites(tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Suites:
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path / "data_home"))
    return Suites(tmp_path, photo_folder)


def test_every_protocol_measures_on_images_that_are_not_learnt_from(suites: Suites) -> None:
    outcome = suites.run(MEASURED + PROBED + TUNED + VTAB)
    assert outcome.mean.complete
    assert [one.images for one in outcome.results] == [360, 15, 15, 360]
    assert all(one.details["split"] == "test" for one in outcome.results)
    tuned = next(suites.out.glob("tuned-*/run"))
    assert 'splits = "joined"' in (tuned / "recipe.toml").read_text()
    assert not (tuned / "last").exists()
    vtab = outcome.results[3].details
    assert vtab["chosen"] == {"learning_rate": 0.1}  # the other one does not move
    assert [one["changes"] for one in vtab["candidates"]] == [
        {"learning_rate": 1e-50},
        {"learning_rate": 0.1},
    ]
    final = next(suites.out.glob("vtab-*/run"))
    assert mlpmixer.load(final).facts["splits"] == "vtab1000"
    table = (suites.out / "suite.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["task", "digits", "probe", "tuned", "vtab"]
    assert json.loads((suites.out / "suite.json").read_text())["mean"] == outcome.mean.value


def test_what_was_measured_is_kept_until_task_or_model_change(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = suites.run(MEASURED + PROBED)
    with monkeypatch.context() as patch:
        patch.setattr("mlpmixer.suites.runner.measure", lambda *_: pytest.fail("measured again"))
        again = suites.run(MEASURED + PROBED)
    assert again == first
    assert suites.said.count("measured before") == 2
    suites.run(MEASURED + PROBED.replace("shots = 5", "shots = 3"))
    assert len(suites.results()) == 3
    model = mlpmixer.load(suites.model)
    torch.nn.init.normal_(model.head.weight)
    model.save(suites.model)
    assert suites.run(MEASURED).mean.value != first.results[0].accuracy
    assert len(suites.results()) == 4


def test_missing_data_is_named_and_the_mean_says_so(suites: Suites) -> None:
    missing = MEASURED.replace("digits", "nowhere/photos") + 'name = "away"\n'
    closed = MEASURED + 'name = "closed"\nunavailable = "write to the authors"\n'
    outcome = suites.run(MEASURED + missing + closed)
    assert [one.accuracy is None for one in outcome.results] == [False, True, True]
    assert (outcome.mean.measured, outcome.mean.tasks) == (1, 3)
    assert "away is left out: there is no file or folder nowhere/photos" in suites.said
    assert "closed is left out: write to the authors" in suites.said
    assert not any(one.failed for one in outcome.results)
    with pytest.raises(UsageError, match="--strict: there is no data for away, closed"):
        suites.run(MEASURED + missing + closed, strict=True)
    with pytest.raises(MixerError, match="no data for any of the 2 tasks"):
        suites.run(missing + closed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MEASURED.replace("digits", "{photos}"), "does not know"),
        (PROBED.replace("shots = 5", "shots = 16"), "fewer than 16 shots"),
        (PROBED.replace("image_size = 16", "image_size = 15"), "15x15"),
        (TUNED.replace("warmup_steps = 1", "warmup_steps = 9"), "warm-up of 9 steps"),
        (VTAB.replace("digits", "{photos}"), "fewer than VTAB-1k's 1000"),
        (VTAB.replace("batch_size = 64", "batch_size = 1001"), "1001"),
    ],
)
def test_what_cannot_be_done_is_found_before_the_first_task(
    text: str, message: str, suites: Suites
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        suites.run(MEASURED.replace("[[task]]", '[[task]]\nname = "first"') + text)
    assert "suite mine, task " in str(caught.value)
    assert not suites.results()


def test_a_damaged_result_is_named_before_anything_is_measured(suites: Suites) -> None:
    suites.run(MEASURED)
    (stored,) = suites.results()
    stored.write_text(stored.read_text()[:40])
    with pytest.raises(MixerError, match="is damaged") as caught:
        suites.run(MEASURED + PROBED)
    assert str(stored) in str(caught.value)
    assert len(suites.results()) == 1


def test_an_interrupted_suite_goes_on_where_it_was(
    suites: Suites, training_steps: TrainingSteps
) -> None:
    training_steps.interrupt_at = 2
    with pytest.raises(KeyboardInterrupt):
        suites.run(MEASURED + TUNED)
    assert "the same command goes on" in suites.said
    assert len(suites.results()) == 1
    outcome = suites.run(MEASURED + TUNED)
    assert training_steps.taken == [0, 1, 2, 3]
    assert outcome.mean.complete


def test_a_task_that_fails_does_not_end_the_suite(suites: Suites, tmp_path: Path) -> None:
    for name in ("1", "2"):
        for number in range(4):
            file = tmp_path / "broken" / "test" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"no picture")
    broken = MEASURED.replace("digits", str(tmp_path / "broken"))
    outcome = suites.run(broken + MEASURED)
    assert [one.failed for one in outcome.results] == [True, False]
    assert "broken failed: " in suites.said
    assert suites.run(MEASURED).mean.complete
    with pytest.raises(MixerError):
        suites.run(broken, strict=True)


def test_a_candidate_of_a_sweep_that_fails_is_left_out(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = protocols.train_once

    def diverging(recipe: Recipe, *rest: Any) -> Any:
        if recipe.optimizer.learning_rate == failing:
            raise MixerError("the loss became nan")
        return train(recipe, *rest)

    monkeypatch.setattr("mlpmixer.suites.protocols.train_once", diverging)
    failing = 0.1
    (result,) = suites.run(VTAB).results
    assert result.details["chosen"] == {"learning_rate": 1e-50}
    assert [one["accuracy"] is None for one in result.details["candidates"]] == [False, True]
    assert "learning_rate 0.1: the loss became nan" in suites.said
    failing = 1e-50
    assert suites.run(VTAB.replace('"vtab"', '"other"')).results[0].details["chosen"] == {
        "learning_rate": 0.1
    }
    alone = VTAB.replace("1e-50, 0.1", "1e-50")
    assert suites.run(alone.replace("1e-50", "1e-50, 1e-50")).results[0].failed


def test_several_right_labels_are_a_further_column(suites: Suites, tmp_path: Path) -> None:
    text = MEASURED + 'multi_labels = "sets.json"\n'
    assert suites.run(text).results[0].multi_label_accuracy is None
    assert f"put its file at {tmp_path / 'data_home' / 'sets.json'}" in suites.said
    sets = tmp_path / "data_home" / "sets.json"
    sets.parent.mkdir(exist_ok=True)
    sets.write_text(json.dumps([list(range(10))] * 360))
    assert suites.run(text).results[0].multi_label_accuracy == 1.0
    assert "again now, with label sets" in suites.said
    suites.run(text)
    assert "measured before" in suites.said
    assert "again now" not in suites.said
    suites.results()[0].unlink()
    sets.write_text(json.dumps([[10]] * 360))
    with pytest.raises(UsageError, match="class 10, outside the 10 classes"):
        suites.run(PROBED + text)
    assert not suites.results()
