"""Several right classes for one image, as in ImageNet's "ReaL" labels.

"Are we done with ImageNet?", https://arxiv.org/abs/2006.07159.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from mlpmixer.data.dataset import Split
from mlpmixer.data.stored_paths import stored_paths
from mlpmixer.errors import UsageError
from mlpmixer.run.console import Console

_IMAGENET_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")


def read_label_sets(path: Path) -> list[list[int]]:
    """Read label sets from a JSON file: one list of class indices for each image.

    Raises:
        UsageError: the file is missing or of another form.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give a JSON file with label sets.")
    try:
        sets = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"no file {str(path)!r} with label sets.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}.") from None
    right = isinstance(sets, list) and all(
        isinstance(one, list) and all(_is_index(label) for label in one) for one in sets
    )
    if not right:
        raise UsageError(
            f"{path} must hold one list of class indices, 0 or more, for each image; an empty one "
            "where none is right."
        )
    return sets


def _is_index(label: object) -> bool:
    return isinstance(label, int) and not isinstance(label, bool) and label >= 0


def in_order_of(
    split: Split, label_sets: Sequence[Sequence[int]], console: Console | None = None
) -> Sequence[Sequence[int]]:
    """Return label sets in the order of a split's images.

    ImageNet's ReaL labels are listed by the number in a file's name, ILSVRC2012_val_00000001, while
    the files lie in class folders (https://github.com/google-research/reassessed-imagenet). Where
    all images are named so, or were before they were written into a table, their numbers find their
    sets; elsewhere the order is taken as it is, which the console is told.

    Raises:
        UsageError: there are more or fewer sets than images, a number is beyond the list, or no
            image has a class that counts as right.
    """
    numbers = _imagenet_numbers([split.name(index) for index in range(len(split))])
    if numbers is None:
        numbers = _imagenet_numbers([path or "" for path in stored_paths(split)])
    ordered: Sequence[Sequence[int]]
    if numbers is not None:
        if max(numbers, default=0) > len(label_sets):
            raise UsageError(
                f"{len(label_sets)} label sets, but an image has number {max(numbers)}."
            )
        ordered = [label_sets[number - 1] for number in numbers]
    else:
        if len(label_sets) != len(split):
            raise UsageError(
                f"{len(label_sets)} label sets for {len(split)} images: give one list of classes "
                "for each image, in the order of the split."
            )
        if console is not None:
            console.message(
                "the label sets are taken in the order of the images, as their names hold no "
                f"numbers of ImageNet's: the first set is that of {split.name(0)}"
            )
        ordered = label_sets
    if not any(ordered):
        raise UsageError("no image has an allowed class: there is nothing to measure.")
    return ordered


def _imagenet_numbers(names: Sequence[str]) -> list[int] | None:
    """Return the number in each name; None where one has none."""
    found = [_IMAGENET_NUMBER.search(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    return numbers if len(numbers) == len(names) else None
