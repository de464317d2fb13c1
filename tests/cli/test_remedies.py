"""Every remedy that an error offers is tried: the command with it is no longer refused."""

import contextlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpmixer import runtime
from mlpmixer.cli.main import main

MODEL = ["--model", "mixer_nano", "--image-size", "32", "--depth", "2", "--device", "cpu"]
BRIEF = ["--steps", "2", "--batch-size", "16", "--workers", "0", "--warmup-steps", "0"]
IMAGES = 27  # of each of two classes; a tenth is held out


class Began(Exception):
    """A training has begun: nothing was refused."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remedies") / "photos"
    chance = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(IMAGES):
            pixels = chance.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(photos: Path) -> Path:
    run = photos.parent / "run"
    assert main(["train", "--data", str(photos), "--out", str(run), *MODEL, *BRIEF]) == 0
    return run


@pytest.fixture
def command(photos: Path, tmp_path: Path) -> list[str]:
    """A training that is accepted as it is."""
    return ["train", "--data", str(photos), "--out", str(tmp_path / "run"), *MODEL, *BRIEF]


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused, and return what it says."""
    assert main(arguments) in (1, 2)
    said = capsys.readouterr().err.strip().splitlines()
    return " ".join(line.removeprefix("mixer: ") for line in said if "warning" not in line)


def with_option(arguments: list[str], flag: str, values: list[str]) -> list[str]:
    """Return the arguments with an option put in, in place of what it was."""
    return [*without_option(arguments, flag), flag, *values]


def without_option(arguments: list[str], flag: str) -> list[str]:
    if flag not in arguments:
        return arguments
    begin = arguments.index(flag)
    end = begin + 1
    while end < len(arguments) and not arguments[end].startswith("--"):
        end += 1
    return arguments[:begin] + arguments[end:]


def following(said: str, arguments: list[str]) -> list[str]:
    """Return a command that does what the error says: its options put in, or left out."""
    if left_out := re.search(r"[Ll]eave (--[\w-]+) out|(--[\w-]+) [^.]*: leave it out", said):
        return without_option(arguments, left_out[1] or left_out[2])
    if choices := re.search(r"'\w+': use (\w+), ", said):
        flag = next(one for one in arguments if one.startswith("--") and one[2:] in said)
        return with_option(arguments, flag, [choices[1]])
    advice = re.search(
        r"(?:[Uu]se|[Gg]ive|first,|own is) (--[a-z][\w-]*)((?: (?!or |too)[\w.]*\w)*)", said
    )
    assert advice, said
    return with_option(arguments, advice[1], advice[2].split())


def accepted(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command that must not be refused; no training goes on."""

    def fit(*_: object) -> None:
        raise Began

    monkeypatch.setattr("mlpmixer.training.loop.TrainingLoop.fit", fit)
    with contextlib.suppress(Began):
        assert main(arguments) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        ["--batch-size", "5000"],
        ["--image-size", "30"],
        ["--image-size", "32", "30"],
        ["--device", "cuda:99"],
        ["--device", "tpu"],
        ["--pad", "32"],
        ["--crop", "inception", "--crop-scale", "1", "0.5"],
        ["--warmup-steps", "10"],
        ["--accumulate", "5"],
        ["--accumulate", "1000000000"],
        ["--patience", "20"],
        ["--patience", "2", "--validation-fraction", "0"],
        ["--shuffle-patch-size", "8"],
        ["--input-shuffle", "patches", "--shuffle-patch-size", "5"],
        ["--model", "halonet_nano", "--image-size", "33"],
        ["--allow-changed-data"],
    ],
    ids=" ".join,
)
def test_what_training_advises_is_accepted(
    wrong: list[str],
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = command
    if "--model" in wrong:
        arguments = without_option(arguments, "--depth")
    begin = [one for one in wrong if one.startswith("--")]
    for flag in begin:
        place = wrong.index(flag)
        end = next(
            (n for n in range(place + 1, len(wrong)) if wrong[n].startswith("--")), len(wrong)
        )
        arguments = with_option(arguments, flag, wrong[place + 1 : end])
    said = refusal(arguments, capsys)
    better = following(said, arguments)
    if "in its place" in said:
        better = without_option(better, wrong[0])
    assert better != arguments, said
    accepted(better, monkeypatch)


def test_the_largest_batch_that_is_advised_is_the_largest_there_is(
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = refusal(with_option(command, "--batch-size", ["5000"]), capsys)
    (most,) = re.findall(r"Use --batch-size (\d+) or less", said)
    refusal(with_option(command, "--batch-size", [str(int(most) + 1)]), capsys)
    accepted(with_option(command, "--batch-size", [most]), monkeypatch)


def test_the_smallest_fraction_that_is_advised_is_enough(
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = refusal(with_option(command, "--train-fraction", ["0.01"]), capsys)
    (least,) = re.findall(r"use ([\d.]+) or more", said)
    better = with_option(command, "--train-fraction", [least])
    accepted(with_option(better, "--batch-size", ["2"]), monkeypatch)


def test_the_depth_that_is_advised_where_memory_is_short_is_accepted(
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlpmixer.training.memory_check.free_memory", lambda _: 10_000_000)
    said = refusal(with_option(command, "--depth", ["1000"]), capsys)
    (most,) = re.findall(r"use --depth (\d+) or less", said)
    refusal(with_option(command, "--depth", [str(int(most) + 1)]), capsys)
    accepted(with_option(command, "--depth", [most]), monkeypatch)


def test_data_of_one_image_a_class_trains_as_is_advised(
    photos: Path,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.copy(photos / name / "0.png", tmp_path / "few" / name)
    few = with_option(command, "--data", [str(tmp_path / "few")])
    few = with_option(few, "--batch-size", ["2"])
    said = refusal(few, capsys)
    (none,) = re.findall(r"--validation-fraction (\d+)", said)
    accepted(with_option(few, "--validation-fraction", [none]), monkeypatch)


def test_a_processor_without_bfloat16_is_offered_float32(
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "has_bfloat16", lambda _: False)
    said = refusal([*command, "--precision", "bfloat16"], capsys)
    accepted(following(said, command), monkeypatch)


def test_another_folder_or_the_run_itself_are_offered_where_a_run_is(
    photos: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["train", "--data", str(photos), *MODEL, *BRIEF]
    said = refusal([*arguments, "--out", str(trained)], capsys)
    assert "another folder with --out" in said
    (run,) = re.findall(r"by --resume (\S+)\.$", said)
    assert main(["train", "--resume", run]) == 0  # it is finished: nothing is left to do
    accepted([*arguments, "--out", str(tmp_path / "other")], monkeypatch)


@pytest.mark.parametrize(
    ("flag", "nearly"),
    [
        ("--model", "mixer_nan"),
        ("--recipe", "quik"),
        ("--data", "digit"),
        ("--crop", "inceptio"),
        ("--batchsize", ""),
    ],
)
def test_the_name_that_was_meant_is_accepted(
    flag: str,
    nearly: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brief = without_option([*MODEL, *BRIEF], "--batch-size")
    arguments = ["train", "--data", "digits", "--out", str(tmp_path / "run"), *brief]
    said = refusal(with_option(arguments, flag, [nearly or "16"]), capsys)
    meant = re.search(r"Did you mean ([\w-]+)", said)
    if nearly and meant:
        better = with_option(arguments, flag, [meant[1]])
    elif meant:
        better = with_option(arguments, meant[1], ["16"])
    else:  # the choices are listed
        better = with_option(arguments, flag, [said.split(nearly)[0] and nearly + "n"])
        assert nearly + "n" in said
    accepted(without_option(better, "--nothing"), monkeypatch)


@pytest.mark.parametrize(
    "wrong",
    [["--train-last", "99"], ["--patch-size", "8"], ["--image-size", "30"]],
    ids=" ".join,
)
def test_what_finetuning_advises_is_accepted(
    wrong: list[str],
    trained: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["finetune", "--from", str(trained), "--data", str(photos), *BRIEF]
    arguments += ["--out", str(tmp_path / "run")]
    said = refusal([*arguments, *wrong], capsys)
    if (range_of_values := re.search(r"give 0 to (\d+)", said)) is not None:
        better = [*arguments, wrong[0], range_of_values[1]]
    else:
        better = following(said, [*arguments, *wrong])
    accepted(better, monkeypatch)


def test_fewer_shots_are_offered_where_a_class_is_small(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fewshot", "--from", str(trained), "--data", str(photos), "--workers", "0"]
    arguments += ["--seeds", "1", "--no-keep"]
    said = refusal([*arguments, "--shots", "5000"], capsys)
    assert main(following(said, arguments)) == 0


def test_a_split_that_is_there_is_offered(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", str(trained), "--data", str(photos), "--workers", "0"]
    said = refusal([*arguments, "--split", "test"], capsys)
    (there,) = re.findall(r"no test images, only (\w+)", said)
    assert main([*arguments, "--split", there]) == 0


def test_the_folder_of_a_run_is_offered_for_one_above_or_below_it(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for near in (trained.parent, trained / "last"):
        said = refusal(["eval", str(near)], capsys)
        (meant,) = re.findall(r"(?:Did you mean|Give the run's folder,) '([^']+)'", said)
        assert main(["eval", meant, "--workers", "0"]) == 0


def test_verify_lists_the_images_that_were_too_many(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "photos"
    shutil.copytree(photos, damaged)
    for number in range(3):
        (damaged / "cat" / f"{number}.png").write_bytes(b"no picture")
    arguments = ["train", "--data", str(damaged), "--out", str(tmp_path / "run"), *MODEL, *BRIEF]
    said = refusal(arguments, capsys)
    assert "mixer data SOURCE --verify" in said
    assert main(["data", str(damaged), "--verify"]) == 1
    listed = capsys.readouterr()
    assert all(f"{number}.png" in listed.out + listed.err for number in range(3))
    better = with_option(arguments, "--out", [str(tmp_path / "other")])
    assert main([*better, "--max-unreadable", "0.1"]) == 0
