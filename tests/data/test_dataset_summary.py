import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.dataset_summary import summarize
from mlpmixer.data.sources.class_folders import open_folder
from mlpmixer.data.splits import ArraySplit

Encode = Callable[..., bytes]


@pytest.fixture
def photos(tmp_path: Path, encode: Encode) -> Dataset:
    sizes = {"a/1": (4, 4), "a/2": (4, 4), "a/3": (2, 3), "b/1": (10, 5), "b/2": (4, 4)}
    for name, size in sizes.items():
        path = tmp_path / "train" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(size=size))
    (tmp_path / "test" / "b").mkdir(parents=True)
    (tmp_path / "test" / "b" / "1.png").write_bytes(encode(size=(7, 7)))
    (tmp_path / "train" / "a" / "text.jpg").write_text("no picture")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG")
    (tmp_path / "train" / "b" / "cut.jpg").write_bytes(buffer.getvalue()[:1500])
    return open_folder(tmp_path, "photos")


def test_images_are_counted_by_split_and_class(photos: Dataset) -> None:
    summary = summarize(photos)
    assert summary.splits["train"].images == 7
    assert summary.splits["train"].per_class == (4, 3)
    assert summary.splits["test"].per_class == (0, 1)


def test_sizes_are_told(photos: Dataset) -> None:
    sizes = summarize(photos, verify=True).splits["train"].sizes
    assert sizes is not None
    assert sizes.distinct == 3
    assert (sizes.smallest, sizes.median, sizes.largest) == ((2, 3), (4, 4), (10, 5))
    assert sizes.common[0] == (4, 4, 3)


def test_headers_reveal_what_is_no_image(photos: Dataset) -> None:
    summary = summarize(photos)
    (found,) = summary.splits["train"].unreadable
    assert found.name.endswith("text.jpg")
    assert "not an image" in found.reason
    assert not summary.verified


def test_verification_reveals_truncated_files_too(photos: Dataset) -> None:
    summary = summarize(photos, verify=True)
    found = {Path(image.name).name: image.reason for image in summary.splits["train"].unreadable}
    assert set(found) == {"text.jpg", "cut.jpg"}
    assert "truncated" in found["cut.jpg"]
    assert summary.verified


def test_split_without_a_readable_image_has_no_sizes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_text("no picture")
    summary = summarize(open_folder(tmp_path, "x"))
    assert summary.splits["train"].sizes is None
    assert len(summary.splits["train"].unreadable) == 2


def test_progress_reaches_the_number_of_images(photos: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    summarize(photos, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (8, 8)


def test_summary_is_plain_data_for_json(photos: Dataset) -> None:
    record = json.loads(json.dumps(summarize(photos).as_json()))
    assert record["class_names"] == ["a", "b"]
    assert record["splits"]["train"]["per_class"] == [4, 3]


def test_pixels_in_memory_need_no_reading() -> None:
    split = ArraySplit(np.zeros((3, 5, 7, 3), dtype=np.uint8), [0, 1, 1], "array")
    summary = summarize(Dataset("array", ("a", "b"), {"train": split}))
    sizes = summary.splits["train"].sizes
    assert sizes is not None
    assert sizes.common == ((7, 5, 3),)
