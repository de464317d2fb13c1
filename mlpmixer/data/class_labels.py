"""From the labels that stand in the data to class names and class indices."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mlpmixer.errors import UsageError
from mlpmixer.formatting import counted, printable

_WHOLE = re.compile(r"([+-]?\d{1,18})(\.0*)?")
UNLABELLED = -1
"""How the Hugging Face hub marks the labels that it keeps to itself."""

Labels = Mapping[str, npt.NDArray[np.int64]]


def numbered_classes(
    numbers: Labels, names: tuple[str, ...] | None, spec: str
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.int64]]]:
    """Return the class names, and the class indices (N,) of each split, for numbers as labels.

    Where `names` are given the numbers are their indices. Else numbers that are 0 to K-1 are the
    indices of classes named after them; others, such as 1 to K or 5, 7001 and 20003, are names.

    Raises UsageError where a number is outside the named classes, or -1 stands among class indices.
    """
    if names is not None:
        for split, values in numbers.items():
            outside = values[(values < 0) | (values >= len(names))]
            if len(outside):
                raise UsageError(
                    f"{spec} has the label {outside[0]} in its {split} images, outside its "
                    f"{len(names)} classes (0 to {len(names) - 1})."
                )
        return names, dict(numbers)
    every = np.unique(np.concatenate(list(numbers.values())))
    if UNLABELLED in every and 0 in every:
        count = sum(int((values == UNLABELLED).sum()) for values in numbers.values())
        raise UsageError(
            f"{spec} has {counted(count, 'image')} with the label -1, which stands for none: "
            "label them or leave them out."
        )
    found = tuple(str(number) for number in every.tolist())
    if every[0] == 0 and every[-1] == len(every) - 1:
        return found, dict(numbers)
    return found, {split: np.searchsorted(every, values) for split, values in numbers.items()}


def named_classes(
    texts: Mapping[str, tuple[Sequence[str], npt.NDArray[np.integer]]],
    names: tuple[str, ...] | None,
    spec: str,
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.int64]]]:
    """Return the class names, and the class indices (N,) of each split, for labels that are text.

    `texts` holds the different labels of each split, and which of them each label is, (N,).
    Names are compared in their printable form. Where `names` are not given, they are those of the
    training images, sorted.

    Raises UsageError where a split has a class that is not among them.
    """
    shown = {
        split: [printable(text) for text in different] for split, (different, _) in texts.items()
    }
    if names is None:
        names = tuple(sorted(set(shown.get("train", next(iter(shown.values()))))))
    label_of = {name: label for label, name in enumerate(names)}
    labels = {}
    for split, different in shown.items():
        unknown = next((name for name in different if name not in label_of), None)
        if unknown is not None:
            raise UsageError(
                f"the {split} images of {spec} have the class {unknown!r}, unknown among "
                f"{'its classes' if split == 'train' else 'the training images'}."
            )
        table = np.array([label_of[name] for name in different], dtype=np.int64)
        labels[split] = table[texts[split][1]]
    return names, labels


def whole_number(text: str) -> int | None:
    """Return the number that a label such as "7", "007" or "7.0" is; None for other text."""
    match = _WHOLE.fullmatch(text)
    return int(match[1]) if match else None


def told_apart(names: Sequence[str], ids: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the class names, printable; those of several classes ("crane") with the class's id.

    The index of a class is its id unless `ids` are given.
    """
    shown = [printable(name) for name in names]
    counts = Counter(shown)
    pairs = zip(shown, ids or map(str, range(len(shown))), strict=True)
    return tuple(name if counts[name] == 1 else f"{name} ({id})" for name, id in pairs)
