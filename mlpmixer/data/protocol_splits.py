"""The splits that transfer protocols ask for, made of those that a source has."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mlpmixer.data.blocks import blocks_in, prepare, spread_of
from mlpmixer.data.dataset import Dataset, Split
from mlpmixer.data.held_out import hold_out_validation
from mlpmixer.data.label_sets import LabelSets, label_sets_of
from mlpmixer.data.splits import Subset
from mlpmixer.data.stream_order import Blocks, ShuffleWindow
from mlpmixer.errors import UsageError

HELD_OUT = 0.2
"""Share of the training images to test on, where a source has no other split."""
VTAB_TRAIN, VTAB_VALIDATION = 800, 200
"""Images of VTAB-1k: to train on while hyperparameters are chosen, and to choose them by."""


def arrange_splits(
    dataset: Dataset, splits: str, validation_fraction: float, seed: int
) -> tuple[Dataset, str]:
    """Return `dataset` with the splits that a training works with, and a remark on them.

    Args:
        dataset: has training images.
        splits: "own": the source's, with validation images held out where it has none; "joined":
            no validation images but all of them to train on; "vtab800": VTAB-1k's 800 training and
            200 validation images; "vtab1000": all of these to train on. Other than "own" keep
            test images apart, as `with_test` finds them.
        validation_fraction: share of the training images that "own" holds out; 0 for none.
        seed: what is chosen at random follows from it.

    Raises UsageError where there are too few images, or the fraction is not between 0 and 1.
    """
    if splits == "own":
        if "validation" in dataset.splits or validation_fraction == 0:
            return dataset, ""
        share = f"{validation_fraction:.0%}"
        held_out = hold_out_validation(dataset, validation_fraction, seed)
        return held_out, f"validation: {share} of the training images, stratified, held out"
    whole = joined(with_test(dataset, seed))
    if splits == "joined":
        return whole, "training: all images that are not for testing"
    count = f"{len(whole.splits['train']):,}"
    chosen = vtab_splits(with_test(dataset, seed), seed)
    if splits == "vtab1000":
        return joined(chosen), f"training: 1,000 of {count} images, by VTAB-1k's protocol"
    learnt = {name: chosen.splits[name] for name in ("train", "validation")}
    remark = f"training and validation: 800 and 200 of {count} images, by VTAB-1k's protocol"
    return replace(chosen, splits=learnt), remark


def with_test(dataset: Dataset, seed: int = 0) -> Dataset:
    """Return `dataset` with test images: its own, else its validation images, else a held out part.

    The part is a stratified fifth of the training images, chosen by the seed.

    Raises UsageError where there are no training images.
    """
    if "train" not in dataset.splits:
        raise UsageError(f"{dataset.spec} has no training images, only {list(dataset.splits)}.")
    if "test" in dataset.splits:
        return dataset
    if "validation" not in dataset.splits:
        dataset = hold_out_validation(dataset, HELD_OUT, seed)
    train, test = dataset.splits["train"], dataset.splits["validation"]
    return replace(dataset, splits={"train": train, "test": test})


def joined(dataset: Dataset) -> Dataset:
    """Return `dataset` with its validation images among the training images."""
    if "validation" not in dataset.splits:
        return dataset
    splits: dict[str, Split] = dict(dataset.splits)
    splits["train"] = Joined([splits["train"], splits.pop("validation")])
    return replace(dataset, splits=splits)


def vtab_splits(dataset: Dataset, seed: int) -> Dataset:
    """Return VTAB-1k's three splits: 800 training, 200 validation and all test images.

    The benchmark takes the first 800 training and 200 validation images in the order of TensorFlow
    Datasets, which other sources do not have. Here the seed chooses them, spread evenly over the
    classes: each class gets its share of the 800 and of the 200, rounded up or down, so a class
    rarer than that may be missing. The 200 come from the source's validation images where it has a
    test split beside them, else from training images that are not among the 800.

    Source: https://arxiv.org/abs/1910.04867, section 2. `dataset` needs a "test" split.

    Raises UsageError where the source has fewer images.
    """
    train, validation = dataset.splits["train"], dataset.splits.get("validation")
    learnt = len(train) + (0 if validation is None else len(validation))
    if learnt < VTAB_TRAIN + VTAB_VALIDATION:
        raise UsageError(
            f"{dataset.spec} has {learnt} training images, fewer than VTAB-1k's "
            f"{VTAB_TRAIN + VTAB_VALIDATION}: use the protocol finetune."
        )
    random = np.random.default_rng(seed)
    parts: dict[str, Split]
    enough = len(train) >= VTAB_TRAIN
    if validation is not None and enough and len(validation) >= VTAB_VALIDATION:
        parts = {
            "train": _part(train, VTAB_TRAIN, random),
            "validation": _part(validation, VTAB_VALIDATION, random),
        }
    else:
        whole = joined(dataset).splits["train"]
        chosen = spread_evenly(whole.labels, VTAB_TRAIN + VTAB_VALIDATION, random)
        held_out = spread_evenly(whole.labels[chosen], VTAB_VALIDATION, random)
        parts = {
            "train": Subset(whole, np.delete(chosen, held_out)),
            "validation": Subset(whole, chosen[held_out]),
        }
    return replace(dataset, splits={**parts, "test": dataset.splits["test"]})


def spread_evenly(
    labels: npt.NDArray[np.int64], count: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return `count` of the indices of `labels` (N,), sorted, at random but even over the classes.

    The images are lined up by class, in random order within each, and every N/count-th is taken:
    each class gets its share of `count`, rounded up or down.
    """
    line = np.lexsort((random.random(len(labels)), labels))
    steps = (np.arange(count) + random.random()) * (len(labels) / count)
    return np.sort(line[steps.astype(np.int64)])


def _part(split: Split, count: int, random: np.random.Generator) -> Subset:
    return Subset(split, spread_evenly(split.labels, count, random))


class Joined:
    """The images of several splits, one after the other."""

    def __init__(self, splits: Sequence[Split]) -> None:
        self.splits = tuple(splits)
        self.starts = np.cumsum([0, *map(len, self.splits)])
        """Where each split begins, and the end of the last one."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, (N,)."""
        return np.concatenate([split.labels for split in self.splits])

    @property
    def label_sets(self) -> LabelSets | None:
        """All classes of each image; None where each has one alone."""
        sets = [label_sets_of(split) for split in self.splits]
        found = [one for one in sets if one is not None]
        if len(found) < len(sets):  # a source has them in all of its splits or in none
            return None
        counts = np.concatenate([one.counts for one in found])
        return LabelSets(np.concatenate([one.classes for one in found]), counts.cumsum())

    def __len__(self) -> int:
        """Return the number of images, N."""
        return int(self.starts[-1])

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return the bytes of each image, (N,)."""
        return np.concatenate([split.sizes() for split in self.splits])

    def encoded(self, index: int) -> bytes | npt.NDArray[np.uint8]:
        """Return the image's bytes or pixels as its split holds them."""
        split, within = self._find(index)
        return split.encoded(within)

    def name(self, index: int) -> str:
        """Return the image's name in its split."""
        split, within = self._find(index)
        return split.name(within)

    @property
    def blocks(self) -> Blocks | None:
        """The index of each block's first image; None where one of the splits has no blocks."""
        parts = [blocks_in(part) for part in self.splits]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        return np.concatenate([one + at for one, at in zip(found, self.starts, strict=False)])

    @property
    def spread(self) -> ShuffleWindow:
        """How widely the blocks are mixed: as in that of the splits which bounds it most."""
        parts = [spread_of(part) for part in self.splits]
        return ShuffleWindow(min(one.lanes for one in parts), max(one.window for one in parts))

    def prepare(self, indices: Iterable[int]) -> None:
        """Have the blocks of some images at hand."""
        for part, within in self.by_part(indices):
            prepare(part, within)

    def by_part(self, indices: Iterable[int]) -> list[tuple[Split, list[int]]]:
        """Return each split with those of some images that are its, by their indices there."""
        every = np.fromiter(indices, np.int64)
        ends = zip(self.starts, self.starts[1:], self.splits, strict=False)
        return [
            (split, (every[(every >= begin) & (every < end)] - begin).tolist())
            for begin, end, split in ends
        ]

    def _find(self, index: int) -> tuple[Split, int]:
        part = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.splits[part], index - int(self.starts[part])
