import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from mlpmixer.data.sources.class_folders import open_folder
from mlpmixer.errors import UsageError

Encode = Callable[..., bytes]


def fill(root: Path, content: bytes, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_class_folders_are_the_classes_in_the_order_of_their_names(
    tmp_path: Path, encode: Encode
) -> None:
    fill(tmp_path, encode(), "dog/1.png", "cat/2.JPG", "cat/1.jpeg", "ant/deep/er/1.webp")
    dataset = open_folder(tmp_path, "pets/")
    assert dataset.spec == "pets/"
    assert dataset.class_names == ("ant", "cat", "dog")
    assert list(dataset.splits) == ["train"]
    train = dataset.splits["train"]
    assert train.labels.tolist() == [0, 1, 1, 2]
    names = [train.name(index).removeprefix(f"{tmp_path}/") for index in range(4)]
    assert names == ["ant/deep/er/1.webp", "cat/1.jpeg", "cat/2.JPG", "dog/1.png"]
    assert train.encoded(0) == encode()


def test_split_folders_are_known_by_their_usual_names(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "Train/a/1.png", "Train/b/1.png", "valid/a/1.png", "test/b/1.png")
    fill(tmp_path, encode(), "notes/picture.png")
    dataset = open_folder(tmp_path, "x")
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert dataset.splits["validation"].labels.tolist() == [0]
    assert dataset.splits["test"].labels.tolist() == [1]


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "a/1.png", "b/1.png", "a/._1.png", "a/notes.txt", "b/.cache/2.png")
    fill(tmp_path, encode(), ".git/1.png", "__MACOSX/a/1.png", "README.md")
    dataset = open_folder(tmp_path, "x")
    assert dataset.class_names == ("a", "b")
    assert len(dataset.splits["train"]) == 2


def test_a_class_may_be_called_train(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "train/1.png", "bus/1.png")
    assert open_folder(tmp_path, "x").class_names == ("bus", "train")


def test_names_outside_ascii_survive_pickling(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "Größe/ä.png", "日本/1.png")
    train = pickle.loads(pickle.dumps(open_folder(tmp_path, "x").splits["train"]))
    assert train.name(0) == str(tmp_path / "Größe" / "ä.png")
    assert train.encoded(0) == encode()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no images. Put the images of each class"),
        (["1.png", "2.png"], "has images but no class folders"),
        (["a/1.png"], "only one class folder, 'a'"),
        (["a/notes.txt", "b/notes.txt"], "no file ends in"),
        (["a/1.png", "b/1.png", "c/notes.txt"], "c has no images"),
        (["train/a/1.png", "train/b/1.png", "val/a/x.txt"], "val has no images|no file ends"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "validation/a/1.png"], "both valid"),
    ],
)
def test_wrong_layouts_are_explained(
    tmp_path: Path, encode: Encode, files: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_folder(fill(tmp_path, encode(), *files), "x")


def test_class_of_the_test_split_must_be_known_from_training(
    tmp_path: Path, encode: Encode
) -> None:
    fill(tmp_path, encode(), "train/tulip/1.png", "train/rose/1.png", "test/tulips/1.png")
    with pytest.raises(UsageError, match=r"'tulips', unknown in .*train\. Did you mean 'tulip'"):
        open_folder(tmp_path, "x")


def test_class_may_lack_in_the_test_split(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "train/a/1.png", "train/b/1.png", "test/b/1.png")
    dataset = open_folder(tmp_path, "x")
    assert dataset.class_names == ("a", "b")
    assert dataset.splits["test"].labels.tolist() == [1]
