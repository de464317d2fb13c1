"""What a user gets who asks for something that cannot be done: a line or two, and no run."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mlpmixer import runtime
from mlpmixer.cli.main import main

TRAIN = ["train", "--recipe", "quick", "--data", "digits", "--steps", "2"]


def refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Run a command that must fail as wrong use before any training; return what it says."""

    def fit(*_: object) -> None:
        pytest.fail("the training began")

    monkeypatch.setattr("mlpmixer.training.loop.TrainingLoop.fit", fit)
    assert main(arguments) == 2
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) <= 2
    assert lines[0].startswith("mixer: ")
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model", "mixer_nan"], ["'mixer_nan'", "mixer_nano"]),
        (["--model", "timm:resnet5"], ["resnet5", "resnet50"]),
        (["--data", "cifar11"], ["'cifar11'", "cifar10"]),
        (["--data", "no/such/folder"], ["no/such/folder"]),
        (["--batchsize", "3"], ["--batchsize", "--batch-size"]),
        (["--batch-size", "many"], ["many", "auto"]),
        (["--balance", "weight"], ["weight", "sampling"]),
        (["--patience", "12"], ["--patience 12", "--evaluations 48"]),
        (["--steps", "1e9"], ["--steps takes INT, not '1e9'"]),
        (["--recipe", "quik"], ["'quik'", "quick"]),
        (["--optimizer", "adam"], ["adam"]),
        (["--image-size", "30"], ["30x30", "--image-size 32"]),
        (["--image-size", "8", "--patch-size", "3"], ["8x8", "3x3"]),
        (["--image-size", "8", "8", "8"], ["image size"]),
        (["--batch-size", "5000"], ["5000", "1295", "--batch-size"]),
        (["--accumulate", "7"], ["--accumulate 7", "64"]),
        (["--epochs", "1"], ["--steps", "--epochs", "one budget"]),
        (["--steps", "0"], ["--steps 0"]),
        (["--warmup-steps", "10"], ["warm-up of 10 steps", "2 steps"]),
        (["--device", "tpu"], ["'tpu'", "cpu"]),
        (["--device", "cuda:99"], ["'cuda:99'", "--device cpu"]),
        (["--mixup-alpha", "-1"], ["--mixup-alpha -1.0", "0 to 1000"]),
        (["--model", "bit_nano", "--tokens-mlp-dim", "3"], ["tokens_mlp_dim"]),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(
    options: list[str],
    expected: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "run"
    said = refused([*TRAIN, "--out", str(out), *options], capsys, monkeypatch)
    for part in expected:
        assert part in said
    assert not out.exists()


def test_an_unknown_verb_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "train" in capsys.readouterr().err


def test_one_class_only_is_no_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos" / "cat"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    said = refused(["train", "--data", str(folder.parent)], capsys, monkeypatch)
    assert "class" in said
    assert "cat" in said


def test_a_directory_with_another_run_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.toml").write_text("epochs = 3\n")
    said = refused([*TRAIN, "--out", str(tmp_path)], capsys, monkeypatch)
    assert "already holds a run" in said
    assert "--out" in said
    assert (tmp_path / "recipe.toml").read_text() == "epochs = 3\n"


def test_an_output_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    said = refused([*TRAIN, "--out", str(file)], capsys, monkeypatch)
    assert str(file) in said
    said = refused([*TRAIN, "--out", str(file / "below")], capsys, monkeypatch)
    assert "cannot write" in said
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    said = refused([*TRAIN, "--out", str(tmp_path / "run")], capsys, monkeypatch)
    assert "cannot write" in said


def test_a_misspelt_field_of_a_recipe_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("epoch = 3\n")
    said = refused(["train", "--recipe", str(recipe)], capsys, monkeypatch)
    assert "mine.toml" in said
    assert "'epoch'" in said
    assert "epochs" in said


def test_a_precision_that_the_device_lacks_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "has_bfloat16", lambda _: False)
    said = refused([*TRAIN, "--precision", "bfloat16"], capsys, monkeypatch)
    assert "bfloat16" in said
    assert "--precision float32" in said


def test_resuming_takes_no_other_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(["train", "--resume", str(tmp_path), "--epochs", "3"], capsys, monkeypatch)
    assert "--epochs" in said


def test_resuming_where_no_run_is_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(["train", "--resume", str(tmp_path / "nothing")], capsys, monkeypatch)
    assert "nothing" in said


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["train", "--help"], ["eval", "--help"], ["info", "--help"]]
)
def test_every_help_shows_an_example(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    verb = arguments[0] if arguments and arguments[0] != "--help" else "train"
    assert f"mixer {verb} " in capsys.readouterr().out.split("usage:", 1)[1].split("\n", 1)[1]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_wrong_option_is_named_alike_in_every_terminal(encoding: str) -> None:
    command = [sys.executable, "-m", "mlpmixer", *TRAIN, "--batch-size", "many"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "mixer: --batch-size takes INT or auto, not 'many'. See `mixer train --help`.\n"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--optimizer", "foo"],
            "invalid choice 'foo' for argument '--optimizer'. Expected one of ",
        ),
        (["--image-size", "a"], "--image-size takes [INT [INT ...]], not 'a'. See "),
        (["here", "there"], "unrecognized options: here, there. See "),
    ],
)
def test_a_wrong_option_is_told_in_a_plain_line_on_a_narrow_terminal_with_colours(
    options: list[str], expected: str, encoding: str
) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
    colours = {"PYTHONIOENCODING": encoding, "TERM": "xterm-256color"}
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with os.fdopen(ours, "rb"):
        done = subprocess.run(
            [sys.executable, "-m", "mlpmixer", *TRAIN, *options],
            env={**environment, **colours},
            stdin=terminal,
            stdout=terminal,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(terminal)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mixer: {expected}")
    assert line.count("--help`.") == 1
