"""Images that are there more than once, exactly and nearly."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from mlpmixer.data.duplicates import find_duplicates
from mlpmixer.data.near_duplicates import find_near_duplicates
from mlpmixer.data.protocol_splits import Joined
from mlpmixer.data.sources import open_source
from mlpmixer.data.splits import ArraySplit, FileSplit, Subset

Encode = Callable[..., bytes]


def files(folder: Path, contents: list[bytes], labels: list[int]) -> FileSplit:
    folder.mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / f"{number}.png").write_bytes(content)
    return FileSplit(folder, [f"{number}.png" for number in range(len(contents))], labels)


def test_copies_are_counted_within_and_across_splits(tmp_path: Path) -> None:
    train = files(tmp_path / "train", [b"a", b"b", b"a", b"a", b"cc"], [0, 1, 0, 0, 1])
    val = files(tmp_path / "val", [b"d", b"a", b"a"], [1, 0, 1])
    test = files(tmp_path / "test", [b"d", b"e", b"cc", b"ff"], [1, 0, 1, 0])
    found = find_duplicates({"train": train, "validation": val, "test": test})
    assert found.within == {"train": 2, "validation": 1}
    assert found.across == {
        ("train", "validation"): 2,
        ("train", "test"): 1,
        ("validation", "test"): 1,
    }
    assert found.conflicting == 5
    assert set(found.examples) == {
        (f"{tmp_path}/train/0.png", f"{tmp_path}/val/1.png"),
        (f"{tmp_path}/val/0.png", f"{tmp_path}/test/0.png"),
        (f"{tmp_path}/train/4.png", f"{tmp_path}/test/2.png"),
    }
    first, *_ = found.sentences()
    assert first.startswith("validation images that are copies of train images: 2 of 3, such as ")


def test_each_sentence_has_an_example_of_its_own(tmp_path: Path) -> None:
    # The first pair of all is of train and test, the first sentence of train and validation.
    train = files(tmp_path / "train", [b"a", b"b", b"c", b"c"], [0, 1, 0, 0])
    val = files(tmp_path / "val", [b"x", b"b"], [1, 1])
    test = files(tmp_path / "test", [b"y", b"a", b"a"], [1, 0, 1])
    said = find_duplicates({"train": train, "validation": val, "test": test}).sentences()
    assert said[:4] == [
        "validation images that are copies of train images: 1 of 2, such as "
        f"{tmp_path}/val/1.png of {tmp_path}/train/1.png",
        "test images that are copies of train images: 2 of 3, such as "
        f"{tmp_path}/test/1.png of {tmp_path}/train/0.png",
        "train images that are copies of other train images: 1 of 4, such as "
        f"{tmp_path}/train/3.png of {tmp_path}/train/2.png",
        "test images that are copies of other test images: 1 of 3, such as "
        f"{tmp_path}/test/2.png of {tmp_path}/test/1.png",
    ]


def test_different_images_of_one_size_are_no_copies(tmp_path: Path) -> None:
    found = find_duplicates({"train": files(tmp_path / "x", [b"abc", b"abd", b"xbc"], [0, 1, 1])})
    assert not found.sentences()
    assert found.as_json() == {
        "within": {},
        "across": [],
        "conflicting_labels": 0,
        "examples": [],
    }


def test_images_that_cannot_be_read_are_no_copies(tmp_path: Path) -> None:
    split = files(tmp_path / "x", [b"", b"", b"a", b"a"], [0, 1, 0, 1])
    (tmp_path / "x" / "3.png").unlink()
    assert not find_duplicates({"train": split}).sentences()


def test_parts_of_splits_and_pixels_are_compared(tmp_path: Path) -> None:
    pixels = np.zeros((6, 4, 4, 3), np.uint8)
    pixels[:, 0, 0, 0] = (1, 2, 3, 1, 2, 3)
    whole = ArraySplit(pixels, [0, 1, 2, 0, 1, 0], "x")
    halves = {"train": Subset(whole, [0, 1, 2]), "test": Subset(whole, [3, 5])}
    assert find_duplicates(halves).across == {("train", "test"): 2}
    assert find_duplicates(halves).conflicting == 2
    assert find_duplicates({"train": Joined([halves["train"], halves["test"]])}).within == {
        "train": 2
    }


def test_no_images_at_all_are_no_copies() -> None:
    empty = ArraySplit(np.zeros((0, 4, 4, 3), np.uint8), [], "x")
    assert not find_duplicates({"train": empty}).sentences()


def scene(seed: int) -> Image.Image:
    """Return a picture of coloured patches of many sizes."""
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(generator.integers(0, 255, (size, size, 3), np.uint8)).resize(
                (96, 96), Image.Resampling.BICUBIC
            ),
            dtype=np.float32,
        )
        for size in (3, 6)
    ]
    return Image.fromarray((sum(layers) / 2).astype(np.uint8))


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "saved as JPEG": lambda one: encoded(one, "JPEG", quality=60),
    "half the size": lambda one: encoded(one.resize((48, 48), Image.Resampling.LANCZOS)),
    "brighter": lambda one: encoded(ImageEnhance.Brightness(one).enhance(1.08)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_copies_are_found_and_others_are_not(tmp_path: Path, change: str) -> None:
    scenes = [scene(seed) for seed in range(40)]
    train = files(tmp_path / "train", [encoded(one) for one in scenes[:30]], [0, 1] * 15)
    changed = [CHANGES[change](one) for one in scenes[5:15]]
    fresh = [encoded(one) for one in scenes[30:]]
    test = files(tmp_path / "test", changed + fresh, [1, 0] * 10)
    found = find_near_duplicates({"train": train, "test": test})
    assert found.across == {("train", "test"): 10}
    assert not found.within
    assert found.conflicting == 0
    assert not find_duplicates({"train": train, "test": test}).sentences()
    (first,) = found.sentences("near copy", "near copies")
    assert first.startswith("test images that are near copies of train images: 10 of 20, such as ")


def test_plain_and_unreadable_images_are_no_near_copies(tmp_path: Path, encode: Encode) -> None:
    contents = [encode((9, 200, 9)), encode((9, 200, 9)), b"damaged", b"damaged"]
    assert not find_near_duplicates({"train": files(tmp_path / "x", contents, [0] * 4)}).sentences()


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_copied_split_is_noticed_whatever_the_source(
    tmp_path: Path, encode: Encode, kind: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = [encode((number, 0, 0)) for number in range(4)]
    for split in ("train", "val"):
        if kind == "parquet":
            table = pa.table({"image": [{"bytes": one} for one in pictures], "label": [0, 1] * 2})
            pq.write_table(table, tmp_path / f"{split}.parquet")
        for number, one in enumerate(pictures):
            path = tmp_path / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one)
    found = find_duplicates(open_source(str(tmp_path)).splits)
    assert found.across == {("train", "validation"): 4}
