"""Files that name the classes of a model's logits."""

import json
from collections.abc import Sequence
from pathlib import Path

from mlpmixer.errors import UsageError
from mlpmixer.formatting import printable

_FORMS = "Write a name a line, a JSON list of names, or a JSON object from index to name or back."


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Return the names in a file, in the order of the logits.

    Args:
        path: UTF-8 text with a name a line (empty lines at the end do not count); or JSON: a list
            of names, or an object from index to name ("0": "cat") or from name to index
            ("cat": 0).

    Raises:
        UsageError: there is no such file, or it is of another form.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: class names are read from text.") from error
    except OSError as error:
        raise UsageError(f"cannot read class names from {path}: {error.strerror}.") from error
    return _from_json(text, path) if text[:1] in ("[", "{") else tuple(text.splitlines())


def class_names_for(count: int, source: Sequence[str] | str | Path) -> tuple[str, ...]:
    """Return names for `count` logits, in the form in which names are compared.

    Args:
        count: how many there have to be.
        source: the names, or a file of them.

    Raises:
        UsageError: the file cannot be read, or names are empty, double, too few or too many.
    """
    names, origin = source, "class_names"
    if isinstance(names, str | Path):
        names, origin = read_class_names(names), str(names)
    names = tuple(printable(name.strip()) for name in names)
    if len(names) != count:
        raise UsageError(f"{origin} has {len(names)} class names, but the model {count} logits.")
    places: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise UsageError(f"{origin}: name {number} is empty. {_FORMS}")
        if name in places:
            raise UsageError(f"{origin}: names {places[name]} and {number} are both {name!r}.")
        places[name] = number
    return names


def check_names(names: Sequence[str], count: int) -> None:
    """Raise UsageError where these are not the names of `count` logits, one text for each."""
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise UsageError("class names must be a list of texts, one for each logit.")
    if len(names) != count:
        raise UsageError(f"{len(names)} class names do not fit a model of {count} logits.")


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is no valid JSON: {error}.") from error
    names = content
    if isinstance(content, dict):
        names = _in_order(content)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{path} does not hold class names. {_FORMS}")
    return tuple(names)


def _in_order(content: dict[str, object]) -> list[object] | None:
    """Return the names of an object between names and the indices 0…K-1; None if it is none."""
    indices = range(len(content))
    if set(map(str, indices)) == set(content):
        return [content[str(index)] for index in indices]
    names = {index: name for name, index in content.items() if type(index) is int}
    return [names[index] for index in indices] if set(names) == set(indices) else None
