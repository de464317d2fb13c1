import pickle
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from mlpmixer.data.sources.hugging_face import open_hub
from mlpmixer.errors import UsageError

Encode = Callable[..., bytes]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def make(folder: Path, split: str, columns: dict[str, list[object]], **kinds: object) -> None:
    """Write a local copy of a hub repository, which `datasets` loads by its path."""
    folder.mkdir(exist_ok=True)
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
    table.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def test_images_stay_encoded_with_names_and_splits(tmp_path: Path, encode: Encode) -> None:
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    red, blue = encode((255, 0, 0)), encode((0, 0, 255))
    images = [{"bytes": red, "path": None}, {"bytes": blue, "path": None}]
    repository = tmp_path / "pets"
    make(repository, "train", {"image": images, "label": [1, 0]}, **kinds)
    make(repository, "validation", {"image": images[:1], "label": [0]}, **kinds)
    dataset = open_hub(f"hf:{repository}")
    assert dataset.class_names == ("cat", "dog")
    train = pickle.loads(pickle.dumps(dataset.splits["train"]))
    assert train.labels.tolist() == [1, 0]
    assert [train.encoded(0), train.encoded(1)] == [red, blue]
    assert train.name(1) == f"hf:{repository} train row 1"
    assert len(dataset.splits["validation"]) == 1


def test_table_without_labels_is_explained(tmp_path: Path, encode: Encode) -> None:
    image = {"bytes": encode(), "path": None}
    make(tmp_path / "x", "train", {"image": [image]}, image=datasets.Image())
    with pytest.raises(UsageError, match="no label column"):
        open_hub(f"hf:{tmp_path / 'x'}")


def test_unknown_configuration_is_explained(tmp_path: Path, encode: Encode) -> None:
    image = {"bytes": encode(), "path": None}
    make(tmp_path / "x", "train", {"image": [image]}, image=datasets.Image())
    with pytest.raises(UsageError, match=r"cannot load .*nothing"):
        open_hub(f"hf:{tmp_path / 'x'}:nothing")


def test_missing_data_set_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no data set .*gone"):
        open_hub(f"hf:{tmp_path / 'gone'}")
