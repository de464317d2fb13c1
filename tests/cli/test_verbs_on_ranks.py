"""Verbs that share no work are refused in one line where torchrun has started several processes."""

from pathlib import Path

import pytest

from mlpmixer.cli.main import main

ALONE = [
    ["eval", "no-model", "--suite", "avg5"],
    ["inspect", "no-model"],
    ["study", "scale", "--data", "digits"],
    ["study", "permutation", "--data", "digits"],
    ["study", "compare", "--data", "digits"],
    ["data", "pack", "digits", "packed"],
    ["export", "no-model", "--out", "x.onnx"],
    ["convert", "no-model", "x.safetensors"],
    ["serve", "no-model"],
]


@pytest.fixture
def rank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """This process is rank 0 of two."""
    monkeypatch.chdir(tmp_path)
    names = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.usefixtures("rank")
@pytest.mark.parametrize("command", ALONE, ids=lambda command: " ".join(command[:2]))
def test_a_verb_for_one_process_is_refused_in_a_line(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    verb = "eval --suite" if command[0] == "eval" else command[0]
    assert f"`mixer {verb}" in line
    assert "here are 2: start it without torchrun" in line
    assert not list(tmp_path.iterdir())


def test_only_the_first_rank_says_so(
    rank: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rank.setenv("RANK", "1")
    rank.setenv("LOCAL_RANK", "1")
    assert main(["inspect", "no-model"]) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ALONE[:2], ids=lambda command: command[0])
def test_alone_it_goes_on_to_the_model(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert "no-model" in capsys.readouterr().err


@pytest.mark.parametrize("variables", [{"RANK": "1"}, {"RANK": "one", "WORLD_SIZE": "2"}])
def test_a_rank_of_no_work_hides_no_error(
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err
