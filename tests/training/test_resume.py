"""Resuming: data, classes and recipe must be those that the run was stopped with."""

import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from training_steps import TrainingSteps

from mlpmixer.cli.main import main
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.pack_plan import plan_pack
from mlpmixer.data.pack_sample import PackOptions
from mlpmixer.data.packing import pack
from mlpmixer.data.sources import open_source
from mlpmixer.data.splits import ArraySplit
from mlpmixer.training.inventory import changes, digest, is_digest_of, write_inventory

TINY = """
epochs = 3.0
evaluations = 3
batch_size = 8
width = 16
depth = 1
tokens_mlp_dim = 8
channels_mlp_dim = 32
patch_size = 4
flip = 0.0
workers = 1
device = "cpu"
"""


@pytest.fixture
def photos(tmp_path: Path, photo_folder: Path) -> Path:
    """A folder of three classes, whose validation images the training holds out itself."""
    return Path(shutil.copytree(photo_folder, tmp_path / "photos"))


@pytest.fixture
def run(tmp_path: Path, photos: Path, training_steps: TrainingSteps) -> Path:
    """A run that was interrupted in its second epoch, after one validation."""
    recipe, out = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(TINY)
    training_steps.interrupt_at = 7
    command = ["train", "--recipe", str(recipe), "--data", str(photos), "--out", str(out)]
    assert main(command) == 130
    training_steps.interrupt_at = None
    return out


def refused(run: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Resume a run, which must be refused in a line before any work; return that."""
    capsys.readouterr()
    assert main(["train", "--resume", str(run), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_images_added_and_removed_are_told_and_can_be_put_back_or_accepted(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = [photos / "train" / "one" / f"new-{n}.png" for n in range(8)]
    for file in added:
        shutil.copy(photos / "train" / "one" / "03.png", file)
    gone = photos / "test" / "zero" / "17.png"
    gone.rename(tmp_path / "17.png")
    line = refused(run, capsys)
    counts = re.findall(r"(\w+): (\d+) added \(train/one/new-\d\.png\)", line)
    assert sum(int(count) for _, count in counts) == 8
    assert re.search(r"train: [^;]*, \d from validation", line)
    assert "test: 1 removed (test/zero/17.png)" in line
    assert "--allow-changed-data" in line

    accepted = Path(shutil.copytree(run, tmp_path / "accepted"))
    assert main(["train", "--resume", str(accepted), "--allow-changed-data"]) == 0
    assert "going on with data that the run was not trained on: " in capsys.readouterr().err
    assert main(["train", "--resume", str(accepted)]) == 0  # now it is its own data

    for file in added:
        file.unlink()
    (tmp_path / "17.png").rename(gone)
    assert main(["train", "--resume", str(run)]) == 0


def test_another_split_of_the_same_images_is_noticed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("seed = 0", "seed = 1"))
    line = refused(run, capsys)
    assert re.search(r"train: \d from validation; validation: \d from train\.", line)


def test_a_folder_that_was_moved_is_the_same_data(run: Path, photos: Path, tmp_path: Path) -> None:
    moved = photos.rename(tmp_path / "elsewhere")
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(str(photos), str(moved)))
    assert main(["train", "--resume", str(run)]) == 0


def test_a_new_class_is_named_and_can_be_learnt_by_a_new_run(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        shutil.copytree(photos / split / "one", photos / split / "eleven")
    for options in ([], ["--allow-changed-data"]):
        line = refused(run, capsys, *options)
        assert "3 classes, the data has 4: 'eleven' is new" in line
        assert f"`mixer finetune --from {run}`" in line
    command = ["finetune", "--from", str(run), "--data", str(photos), "--steps", "2"]
    assert main([*command, "--batch-size", "8", "--out", str(tmp_path / "new")]) == 0


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("width = 16", "width = 32", "width = 16, and the recipe says 32"),
        ('optimizer = "adamw"', 'optimizer = "sgd"', "optimizer = 'adamw', and the recipe says"),
        ("ema = 0.0", "ema = 0.9", "ema = 0.0, and the recipe says 0.9"),
    ],
)
def test_a_recipe_that_does_not_fit_the_state_is_named_and_can_be_put_back(
    before: str, after: str, told: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = run / "recipe.toml"
    right = recipe.read_text()
    assert before in right
    recipe.write_text(right.replace(before, after))
    line = refused(run, capsys)
    assert told in line
    assert f"put it back in {recipe}" in line
    recipe.write_text(right)
    assert main(["train", "--resume", str(run)]) == 0


def test_what_may_change_in_a_recipe_is_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 3.0", "epochs = 4.0"))
    assert main(["train", "--resume", str(run), "--json"]) == 0
    said = capsys.readouterr()
    assert "the recipe has changed since the run was stopped: epochs 4.0, was 3.0" in said.err
    assert json.loads(said.out)["steps"] == 4 * 4


def dataset(labels: list[int], names: tuple[str, ...] = ("a", "b")) -> Dataset:
    pixels = np.zeros((len(labels), 2, 2, 3), dtype=np.uint8)
    return Dataset("made up", names, {"train": ArraySplit(pixels, labels, "made up")})


def test_a_change_of_labels_or_order_alone_is_noticed(tmp_path: Path) -> None:
    before = dataset([0, 1, 1])
    write_inventory(tmp_path, before)
    assert digest(before) == digest(dataset([0, 1, 1]))
    relabelled = dataset([0, 0, 1])
    assert digest(relabelled) != digest(before)
    told = changes(tmp_path, relabelled)
    assert told == "train: 1 with another label (made up image 1: b, now a)"
    renamed = dataset([0, 1, 1], ("a", "c"))
    assert "new classes: 'c'; classes that are gone: 'b'" in changes(tmp_path, renamed)


def test_images_of_the_same_names_and_other_content_are_noticed(
    tmp_path: Path, photo_folder: Path
) -> None:
    for side in (12, 8):
        shutil.rmtree(tmp_path / "packed", ignore_errors=True)
        plan = plan_pack(open_source(str(photo_folder)), PackOptions(max_side=side))
        pack(plan, tmp_path / "packed", 1)
        packed = open_source(str(tmp_path / "packed"))
        if side == 12:
            before = digest(packed)
            write_inventory(tmp_path, packed)
    assert digest(packed) != before
    assert "of another size (train-00000.tar:" in changes(tmp_path, packed)


def test_a_state_of_a_version_that_knew_no_sizes_is_compared_without_them(tmp_path: Path) -> None:
    before, other = dataset([0, 1, 1]), dataset([0, 0, 1])
    stored = "2441b10f88acbd2abd03ecfa7804c9a7"  # what earlier versions gave
    assert is_digest_of(stored, before, digest(before))
    assert not is_digest_of(stored, other, digest(other))
    assert is_digest_of(digest(before), before, digest(before))
    assert not is_digest_of(digest(other), before, digest(before))
    lines = b'["train", "a", "made up image 0"]\n["train", "b", "made up image 1"]\n'
    with gzip.open(tmp_path / "images.jsonl.gz", "wb") as file:
        file.write(lines)
    assert changes(tmp_path, before) == "train: 1 added (made up image 2)"


def test_a_missing_list_of_images_is_named(tmp_path: Path) -> None:
    assert "images.jsonl.gz" in changes(tmp_path, dataset([0, 1]))


def test_changed_data_can_only_be_allowed_to_a_run_that_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", "digits", "--out", str(tmp_path / "run")]
    assert main([*command, "--allow-changed-data"]) == 2
    assert "belongs to --resume" in capsys.readouterr().err
