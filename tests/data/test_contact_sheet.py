import numpy as np
import pytest
from PIL import Image

from mlpmixer.data.contact_sheet import contact_sheet
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.splits import ArraySplit

COLORS = [(200, 0, 0), (0, 180, 0), (0, 0, 220)]


def colored(per_class: int, names: tuple[str, ...] = ("red", "green", "blue")) -> Dataset:
    """Return images of one colour a class, of different brightness."""
    labels = np.repeat(np.arange(len(names)), per_class)
    images = np.zeros((len(labels), 4, 4, 3), dtype=np.uint8)
    for index, label in enumerate(labels):
        images[index] = np.array(COLORS[label % 3]) * (1 - 0.01 * (index % per_class))
    return Dataset("colours", names, {"train": ArraySplit(images, labels, "colours")})


def cells(sheet: Image.Image, tile: int) -> list[list[tuple[int, int, int]]]:
    """Return the colours of the tiles, row by row; paper and text are grey, tiles are not."""
    pixels = np.asarray(sheet).astype(int)
    saturated = pixels.max(-1) - pixels.min(-1) > 100  # (H, W)
    tops = list(np.flatnonzero(np.diff(saturated.any(1).astype(int), prepend=0) == 1))
    rows = []
    for top in tops:
        line = saturated[top + tile // 2]
        lefts = np.flatnonzero(np.diff(line.astype(int), prepend=0) == 1)
        rows.append([tuple(pixels[top + tile // 2, left + tile // 2]) for left in lefts])
    return rows


def test_each_class_has_a_row_of_its_images() -> None:
    rows = cells(contact_sheet(colored(8), images=5, tile=32), 32)
    assert [len(row) for row in rows] == [5, 5, 5]
    for row, color in zip(rows, COLORS, strict=True):
        assert all(np.argmax(cell) == np.argmax(color) for cell in row)
        assert len(set(row)) == 5  # no image twice


def test_small_classes_show_what_they_have() -> None:
    rows = cells(contact_sheet(colored(2), images=5, tile=32), 32)
    assert [len(row) for row in rows] == [2, 2, 2]


def test_the_seed_decides_which_images_are_shown() -> None:
    sheets = [contact_sheet(colored(30), seed=seed).tobytes() for seed in (1, 1, 2)]
    assert sheets[0] == sheets[1] != sheets[2]


def test_of_many_classes_some_are_shown() -> None:
    names = tuple(f"class {number}" for number in range(30))
    assert len(cells(contact_sheet(colored(1, names), classes=7, tile=32), 32)) == 7


def test_names_are_drawn_and_long_ones_fit() -> None:
    short = contact_sheet(colored(1), tile=32)
    other = contact_sheet(colored(1, ("rad", "green", "blue")), tile=32)
    assert short.size == other.size
    assert short.tobytes() != other.tobytes()
    long = contact_sheet(colored(1, ("x" * 500, "green", "blue")), tile=32)
    assert long.width < short.width + 250


def test_unreadable_images_are_passed_over() -> None:
    class Broken(ArraySplit):
        def encoded(self, index: int) -> object:  # type: ignore[override]
            return b"no image" if self.labels[index] == 1 or index == 0 else self.images[index]

    source = colored(3).splits["train"]
    assert isinstance(source, ArraySplit)
    split = Broken(source.images, source.labels, "broken")
    dataset = Dataset("colours", ("red", "green", "blue"), {"train": split})
    assert [len(row) for row in cells(contact_sheet(dataset, tile=32), 32)] == [2, 3]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_split_can_be_chosen(split: str) -> None:
    dataset = colored(2)
    test = ArraySplit(np.full((2, 4, 4, 3), (0, 0, 220), dtype=np.uint8), [0, 2], "test")
    both = Dataset("colours", dataset.class_names, {**dataset.splits, "test": test})
    rows = cells(contact_sheet(both, split=split, tile=32), 32)
    assert len(rows) == {"train": 3, "test": 2}[split]
