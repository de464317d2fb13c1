"""The verbs of the command: the files beside this one whose first line declares one.

A file that begins with

    \"\"\"`mixer convert`: rewrite a checkpoint in another layout.\"\"\"

is the verb `mixer convert`, or the study of `mixer study scale`; it has `run(arguments) -> int`,
and `SHARES_WORK = True` where several processes that torchrun starts share its work.
Files are read for their first line and not imported, so that listing the verbs is quick.
"""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mlpmixer import cli
from mlpmixer.cli.one_process import need_one_process
from mlpmixer.errors import unknown_name

_DECLARATION = re.compile(r'"""`mixer (?P<name>[a-z][a-z ]*)`: (?P<summary>[^"]+?)\.?(""")?$')


class Verb(NamedTuple):
    """What the user types after `mixer`."""

    module: str
    """Name of the module with its `run`."""
    summary: str
    """What it does, in a line."""


def find_verbs(within: str = "") -> dict[str, Verb]:
    """Return the verbs by name, in alphabetical order.

    Args:
        within: a verb that has verbs of its own, as `mixer study scale` is one of "study".
    """
    found = {}
    for file in (file for folder in cli.__path__ for file in Path(folder).glob("*.py")):
        with file.open(encoding="utf-8") as lines:
            declared = _DECLARATION.match(lines.readline().rstrip())
        if declared is None:
            continue
        above, _, name = declared["name"].rpartition(" ")
        if above == within:
            found[name] = Verb(f"{cli.__name__}.{file.stem}", declared["summary"])
    return dict(sorted(found.items()))


def run_verb(name: str, arguments: Sequence[str], within: str = "") -> int:
    """Run a verb and return its exit status.

    Raises:
        UsageError: there is none of that name, or it is for one process and there are several.
    """
    verbs = find_verbs(within)
    if name not in verbs:
        kind, command = (within or "verb"), " ".join(filter(None, ["mixer", within]))
        raise unknown_name(kind, name, verbs, f"`{command} --help` lists all.")
    verb = importlib.import_module(verbs[name].module)
    if not getattr(verb, "SHARES_WORK", False):
        need_one_process(" ".join(filter(None, [within, name])))
    return int(verb.run(list(arguments)))


def verb_lines(within: str = "") -> list[str]:
    """Return a line of help for each verb."""
    verbs = find_verbs(within)
    width = max(map(len, verbs)) + 2
    return [f"  {name:<{width}}{verb.summary}" for name, verb in verbs.items()]
