"""Where class folders are found below a folder, and what is said where that is not clear."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlpmixer.data.sources.class_folders import open_folder
from mlpmixer.errors import UsageError

Encode = Callable[..., bytes]


def fill(root: Path, content: bytes, *folders: str) -> Path:
    """Put two images into each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in ("1.png", "2.png"):
            (root / folder / name).write_bytes(content)
    return root


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (
            ["seg_train/seg_train/{}", "seg_test/seg_test/{}"],
            {"train": "seg_train/seg_train", "test": "seg_test/seg_test"},
        ),
        (["my_train/{}", "my_val/{}"], {"train": "my_train", "validation": "my_val"}),
        (
            ["Training Set/images/{}", "Testing Set/images/{}"],
            {"train": "Training Set/images", "test": "Testing Set/images"},
        ),
        (["train/train/{}", "test/{}"], {"train": "train/train", "test": "test"}),
        (["train/images/{}"], {"train": "train/images"}),
        (["x/{}"], {"train": "x"}),
        (["x/x/{}"], {"train": "x/x"}),
        (["x/images/train/{}", "x/images/valid/{}"], None),
    ],
)
def test_splits_and_wrapped_folders_are_found(
    tmp_path: Path, encode: Encode, folders: list[str], splits: dict[str, str] | None
) -> None:
    names = [folder.format(name) for folder in folders for name in ("sea", "ice", "fog")]
    root = fill(tmp_path / "x", encode(), *names)
    dataset = open_folder(root, "x")
    assert dataset.class_names == ("fog", "ice", "sea")
    assert all(len(split) == 6 for split in dataset.splits.values())
    expected = splits or {"train": "x/images/train", "validation": "x/images/valid"}
    found = {name: Path(split.name(0)).parents[1] for name, split in dataset.splits.items()}
    assert found == {name: root / path for name, path in expected.items()}
    for path in found.values():
        if path.parent.name in ("seg_train", "images", "train") and path.parent != root:
            assert any(str(path.parent) in note for note in dataset.notes)


def test_images_in_folders_beside_the_splits_are_counted(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "train/a", "train/b", "test/a", "pred/pred", "extra")
    assert open_folder(tmp_path, "x").passed_over == {
        "images in pred/, which is no split": 2,
        "images in extra/, which is no split": 2,
    }


def test_unlabelled_test_images_are_counted(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "train/a", "train/b", "test")
    dataset = open_folder(tmp_path, "x")
    assert list(dataset.splits) == ["train"]
    assert dataset.passed_over == {"images in test/, which is no split": 2}


def test_a_single_folder_of_another_name_is_named_as_the_path_to_use(
    tmp_path: Path, encode: Encode
) -> None:
    fill(tmp_path, encode(), "pets2020/cat", "pets2020/dog")
    with pytest.raises(UsageError, match=rf"\(cat, dog\).*give {tmp_path}/pets2020\.$"):
        open_folder(tmp_path, "x")
    assert open_folder(tmp_path / "pets2020", "x").class_names == ("cat", "dog")
    deep = fill(tmp_path / "y", encode(), "one/two/three/cat", "one/two/three/dog")
    with pytest.raises(UsageError, match=rf"give {deep}/one/two/three\.$"):
        open_folder(deep, "x")


def test_the_folder_given_may_be_the_current_one(
    tmp_path: Path, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path / "x", encode(), "x/cat", "x/dog"))
    assert open_folder(Path("."), ".").class_names == ("cat", "dog")


def test_splits_that_share_a_single_class_are_splits(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "my_train/cat", "my_train/dog", "my_test/dog")
    dataset = open_folder(tmp_path, "x")
    assert dataset.class_names == ("cat", "dog")
    assert dataset.splits["test"].labels.tolist() == [1, 1]


def test_folders_that_may_be_parts_instead_of_classes_are_remarked(
    tmp_path: Path, encode: Encode
) -> None:
    fill(tmp_path, encode(), "fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog")
    dataset = open_folder(tmp_path, "x")
    assert dataset.class_names == ("fold1", "fold2")
    assert any(f"give {tmp_path}/fold1" in note for note in dataset.notes)


def test_classes_with_a_split_in_their_name_stay_classes(tmp_path: Path, encode: Encode) -> None:
    fill(tmp_path, encode(), "train station/day", "train station/night", "test tube")
    dataset = open_folder(tmp_path, "x")
    assert dataset.class_names == ("test tube", "train station")
    assert dataset.splits["train"].labels.tolist() == [0, 0, 1, 1, 1, 1]
