"""Where results go, and options without effect: told before any work is done."""

from pathlib import Path

import pytest

from mlpmixer.cli.main import main

FEWSHOT = ["fewshot", "--from", "no-model", "--data", "digits", "--out"]
PREDICT = ["predict", "no-model", "photo.jpg"]
IN_THE_WAY = "file is a file, not a folder"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*FEWSHOT, "figure.jpg"], "ends in .png"),
        ([*FEWSHOT, "folder.png"], "folder.png: it is a folder"),
        (["eval", "no-model", "--corruptions", "fog", "--out", "file"], IN_THE_WAY),
        (["eval", "no-model", "--suite", "avg5", "--out", "file/new"], IN_THE_WAY),
        (["data", "no-data", "--out", "file/sheet.png"], IN_THE_WAY),
        ([*PREDICT, "--out", "file/x.csv"], IN_THE_WAY),
        ([*PREDICT, "--sheet", "file/x.html"], IN_THE_WAY),
        ([*PREDICT, "--sort-into", "file"], IN_THE_WAY),
        (["export", "no-model", "--out", "file/x.onnx"], IN_THE_WAY),
        (["convert", "no-model", "file/x.npz"], IN_THE_WAY),
    ],
)
def test_a_target_that_cannot_be_written_is_told_first(
    command: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    Path("folder.png").mkdir()
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(map(str, Path().iterdir())) == ["file", "folder.png"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["export", "no-model", "--out", "x.onnx", "--calibration-images", "9"],
            "--calibration-images is for --precision int8",
        ),
        (["data", "--out", "sheet.png"], "--out needs a source"),
        (["data", "no-data", "--seed", "3"], "--seed belongs to the contact sheet"),
        (["data", "no-data", "--split", "test"], "--split belongs to the contact sheet"),
        (
            [*PREDICT, "--out", "x.html", "--format", "csv", "--sheet", "./x.html"],
            "--out and --sheet name the same file",
        ),
        (["bench", "no-model", "--engines"], "--engines names none"),
        (["bench", "no-model", "--precisions"], "--precisions names none"),
    ],
)
def test_an_option_without_effect_is_refused(
    command: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
