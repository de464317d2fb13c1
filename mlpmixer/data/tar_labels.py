"""The labels that stand beside an image in a tar shard: one, or several as a list."""

import json

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.formatting import printable

Labels = tuple[str, ...]
"""The different labels of an image in their printable form; none where it has no label."""


def labels_in_text(content: bytes, where: str) -> Labels:
    """Return the labels in a `.cls` file: one, several lines of one each, or a JSON list.

    Raises UsageError where a JSON list holds what is no class; `where` names the file in it.
    """
    text = content.decode(errors="surrogateescape").strip()
    if text.startswith("["):
        try:
            return _listed(json.loads(text), where)
        except ValueError as error:
            if isinstance(error, UsageError):
                raise
            # the name of a class may begin so
    return tuple(filter(None, (printable(line.strip()) for line in text.split("\n"))))


def labels_in_json(content: bytes, where: str) -> Labels:
    """Return the labels in a `.json` file: under "label", else "labels", one or a list of them.

    Raises UsageError where one is no class, MixerError where the file is no JSON.
    """
    try:
        value = json.loads(content)
    except ValueError as error:
        raise MixerError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        return ()
    found = value.get("label")
    return _listed(value.get("labels") if found is None else found, where)


def _listed(value: object, where: str) -> Labels:
    if value is None:
        return ()
    labels = (_one(one, where) for one in (value if isinstance(value, list) else [value]))
    return tuple(dict.fromkeys(filter(None, labels)))


def _one(value: object, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int | str):
        return printable(str(value).strip())
    raise UsageError(
        f"{where} has the label {value!r}, which is no class: give a whole number, true, false, "
        "text, or a list of these."
    )
