"""What a suite says, and what is wrong with it; the means that it reports."""

from pathlib import Path

import pytest

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.suites.definition import (
    INCLUDED,
    Evaluate,
    FewShot,
    Finetune,
    Vtab1k,
    find_suite,
)
from mlpmixer.suites.result import SuiteResult, TaskResult, read_result

VALID = """
about = "four protocols"
[defaults]
data = "digits"
[[task]]
name = "as it is"
protocol = "evaluate"
split = "train"
[[task]]
name = "probe"
protocol = "fewshot"
shots = 10
[[task]]
name = "tuned"
protocol = "finetune"
steps = 30
warmup = 0.1
[[task]]
name = "vtab"
protocol = "vtab1k"
group = "natural"
flip = 0.0
sweep = { learning_rate = [0.1, 0.2], steps = [5, 6] }
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_file_is_read_into_typed_tasks(tmp_path: Path) -> None:
    suite = find_suite(written(tmp_path, VALID))
    assert suite.name == "mine"
    as_it_is, probe, tuned, vtab = (task.protocol for task in suite.tasks)
    assert as_it_is == Evaluate(split="train")
    assert probe == FewShot(shots=10)
    assert isinstance(tuned, Finetune)
    assert tuned.recipe.optimizer.optimizer == "sgd"  # of the recipe finetune
    assert (tuned.recipe.schedule.steps, tuned.recipe.schedule.warmup_steps) == (30, None)
    assert isinstance(vtab, Vtab1k)
    assert vtab.recipe.augment.flip == 0
    assert vtab.candidates[1] == {"learning_rate": 0.1, "steps": 6}
    assert len(vtab.candidates) == 4
    assert suite.tasks[3].group == "natural"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("shots", "shot", "task 'probe': unknown key 'shot'. Did you mean shots"),
        ('"fewshot"', '"fewshots"', "task 'probe': unknown protocol 'fewshots'"),
        ("shots = 10", 'shots = "10"', "shots = '10' is of the wrong type: give a whole number"),
        ("shots = 10", "shots = 0", "shots = 0 is out of range: give 1 to"),
        ('"digits"', '"digit"', "unknown data source 'digit'. Did you mean digits"),
        ('data = "digits"', "", "task 'as it is': the key 'data' is missing"),
        ("steps = 30", "stpes = 30", "task 'tuned': unknown recipe field 'stpes'"),
        ("steps = 30", 'recipe = "fintune"', "finetune"),
        ("steps = 30", 'device = "cpu"', "device is chosen on the command line"),
        ("steps = [5, 6]", "steps = 5", "sweep: steps needs a list"),
        ("steps = [5, 6]", "stps = [5]", "unknown recipe field 'stps'"),
        ("flip = 0.0", 'splits = "own"', "splits belong to the protocol"),
        ('"train"', '"trian"', "train"),
        ('name = "tuned"', 'name = "vtab"', "a task of that name already"),
        ("[defaults]", "[default]", "unknown key 'default'"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_task(
    before: str, after: str, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, VALID.replace(before, after, 1))
    with pytest.raises(UsageError) as caught:
        find_suite(path)
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_an_empty_suite_and_an_unknown_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task"):
        find_suite(written(tmp_path, 'about = "nothing"'))
    with pytest.raises(UsageError, match="Did you mean avg5"):
        find_suite("avg")


def test_the_papers_suites_are_included() -> None:
    assert {"avg5", "vtab1k"} <= set(INCLUDED)
    five = find_suite("avg5").tasks
    assert [task.data for task in five] == ["imagenet", "cifar10", "cifar100", "pets", "flowers"]
    assert {task.kind for task in five} == {"finetune"}
    vtab = find_suite("vtab1k").tasks
    groups = [task.group for task in vtab]
    assert {name: groups.count(name) for name in groups} == {
        "natural": 7,
        "specialized": 4,
        "structured": 8,
    }
    assert {task.kind for task in vtab} == {"vtab1k"}


def result(task: str, group: str, accuracy: float | None) -> TaskResult:
    return TaskResult(
        task=task, group=group, data=task, protocol="evaluate", accuracy=accuracy, images=10
    )


def test_the_mean_is_over_tasks_and_over_each_group() -> None:
    outcome = SuiteResult(
        "s", "m", (result("a", "x", 0.5), result("b", "x", 0.7), result("c", "y", 0.9))
    )
    assert outcome.mean.value == pytest.approx(0.7)
    assert outcome.mean.complete
    assert outcome.groups["x"].value == pytest.approx(0.6)
    assert outcome.groups["y"].value == pytest.approx(0.9)
    assert outcome.to_json()["mean"] == pytest.approx(0.7)


def test_the_mean_of_some_tasks_is_not_the_suites() -> None:
    outcome = SuiteResult("s", "m", (result("a", "x", 0.5), result("b", "y", None)))
    record = outcome.to_json()
    assert record["mean"] is None
    assert record["mean_of_measured"] == 0.5
    assert (record["measured"], record["tasks"]) == (1, 2)
    assert outcome.groups["y"].value is None
    assert outcome.to_csv().splitlines()[2].startswith("b,y,b,evaluate,,")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"accuracy": 0.5}'])
def test_a_damaged_result_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(MixerError, match=r"result\.json is damaged"):
        read_result(path)
