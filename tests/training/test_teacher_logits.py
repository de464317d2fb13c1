"""Answers on disk: what was asked once, also where a file was cut off or spoilt."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mlpmixer.data.augment import changes_nothing
from mlpmixer.data.options import AugmentOptions
from mlpmixer.errors import MixerError
from mlpmixer.training.teacher_logits import row_bytes, stored_logits

IMAGES = torch.rand(9, 3, 2, 2, generator=torch.Generator().manual_seed(0))


class Asked:
    """Answers with an image's first numbers, and remembers whom it was asked for."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return images.flatten(1)[:, :5].clone()


def answered(folder: Path, places: list[int], asked: Asked, key: str = "key") -> Tensor:
    with stored_logits(folder, key, 5, asked) as stored:
        return stored(IMAGES[places], torch.tensor(places))


def test_what_was_answered_once_is_not_asked_again(tmp_path: Path) -> None:
    asked = Asked()
    for places in ([4, 0, 8], [8, 4], [0, 1], [1, 0, 4, 8]):
        found = answered(tmp_path, places, asked)
        assert torch.equal(found, IMAGES[places].flatten(1)[:, :5])
    assert asked.batches == [3, 2]  # a batch is asked whole where one image is new


def test_an_answer_stays_what_it_was_when_it_was_asked_first(tmp_path: Path) -> None:
    first = answered(tmp_path, [3, 5], Asked())
    with stored_logits(tmp_path, "key", 5, lambda images: images.flatten(1)[:, :5] + 1) as stored:
        again = stored(IMAGES[[5, 6, 3]], torch.tensor([5, 6, 3]))
    assert torch.equal(again[[2, 0]], first)
    assert torch.equal(again[1], IMAGES[6].flatten()[:5] + 1)


def test_an_image_that_comes_twice_in_a_batch_has_one_answer(tmp_path: Path) -> None:
    numbers = iter(range(100))

    def ask(images: Tensor) -> Tensor:
        return torch.tensor([[float(next(numbers))] * 5 for _ in images])

    with stored_logits(tmp_path, "key", 5, ask) as stored:
        fresh = stored(IMAGES[[2, 2]], torch.tensor([2, 2]))
        assert torch.equal(fresh, stored(IMAGES[[2, 2]], torch.tensor([2, 2])))
    assert torch.equal(fresh[0], fresh[1])


@pytest.mark.parametrize("spoil", ["cut", "flip"])
def test_a_row_that_is_damaged_is_asked_for_again(spoil: str, tmp_path: Path) -> None:
    asked = Asked()
    answered(tmp_path, [0, 1], asked)
    (file,) = tmp_path.glob("*.answers")
    content = bytearray(file.read_bytes())
    if spoil == "cut":
        del content[-3:]
    else:
        content[row_bytes(5) + 2] ^= 1
    file.write_bytes(content)
    assert torch.equal(answered(tmp_path, [0], asked), IMAGES[[0]].flatten(1)[:, :5])
    assert torch.equal(answered(tmp_path, [1], asked), IMAGES[[1]].flatten(1)[:, :5])
    assert asked.batches == [2, 1]


def test_answers_of_another_teacher_are_thrown_away(tmp_path: Path) -> None:
    asked = Asked()
    answered(tmp_path, [0], asked, "one")
    answered(tmp_path, [0], asked, "other")
    assert asked.batches == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["other.answers"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(MixerError, match="nowhere"):
        answered(tmp_path / "nowhere", [0], Asked())


def test_only_images_that_are_shown_as_they_are_have_one_answer() -> None:
    still = {"crop": "none", "flip": 0.0}
    assert changes_nothing(AugmentOptions(**still))  # type: ignore[arg-type]
    assert changes_nothing(AugmentOptions(crop="pad", pad=0, flip=0.0))
    assert changes_nothing(AugmentOptions(crop="none", flip=0, mixup_alpha=1, mixup_probability=0))
    changes: list[dict[str, object]] = [
        {"flip": 0.5},
        {"crop": "pad"},
        {"crop": "inception"},
        {"randaugment_operations": 1},
        {"mixup_alpha": 0.1},
        {"cutmix_alpha": 0.1},
        {"erase": 0.1},
    ]
    for change in changes:
        assert not changes_nothing(AugmentOptions(**{**still, **change}))  # type: ignore[arg-type]
