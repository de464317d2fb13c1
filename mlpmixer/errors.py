"""Errors that a user can put right.

Their text is shown as it is, without a traceback: one or two lines that name the value, the
reason and the remedy. Any other exception is a defect of this package.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from mlpmixer.formatting import memory


class MixerError(Exception):
    """Something failed for a reason outside the program: a damaged file, a full disk."""

    exit_status = 1


class UsageError(MixerError, ValueError):
    """What was asked for cannot be done: an unknown name, sizes that do not fit."""

    exit_status = 2


class EndedElsewhere(MixerError):
    """Another process of the same work failed, and tells why: this one ends and says nothing."""

    def __init__(self, exit_status: int = MixerError.exit_status) -> None:
        super().__init__("another process of this work has ended; its error says why.")
        self.exit_status = exit_status


class Terminated(KeyboardInterrupt):
    """The system asked to stop (SIGTERM, SIGHUP); what was reached is saved, to go on with."""

    exit_status = 75
    """EX_TEMPFAIL of sysexits.h: "try again later", by which schedulers know what to requeue."""


def unknown_name(kind: str, name: str, known: Iterable[str], remedy: str = "") -> UsageError:
    """Return the error for a `name` that is not among the `known` ones, with the nearest of them.

    `kind` says what was named ("model", "recipe"), `remedy` where the full list is found.
    """
    choices = list(known)
    near = get_close_matches(name, choices, n=3, cutoff=0.5)
    if near:
        hint = f"Did you mean {', '.join(near)}?"
    elif len(choices) <= 12:
        hint = f"Known: {', '.join(choices)}."
    else:
        hint = ""
    return UsageError(" ".join(filter(None, [f"unknown {kind} {name!r}.", hint, remedy])))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without its full stop; what it is, without text."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else repr(error)


_NO_MEMORY = re.compile(r"allocate memory|not enough memory|out of memory|Storage size calculation")
"""What PyTorch's errors say of memory: that of a CPU is a RuntimeError like any other."""


def short_of_memory(error: MemoryError | RuntimeError) -> str:
    """Return that memory is short, and what helps, where that is the error; "" where it is another.

    The sentence has no full stop, so that one can go on.
    """
    if not isinstance(error, MemoryError) and not _NO_MEMORY.search(str(error)):
        return ""
    asked = re.search(r"allocate (\d+) bytes", str(error))
    size = f": {memory(int(asked[1]))} were asked for at once" if asked else ""
    return (
        f"the memory does not suffice{size}. Use a smaller --image-size, --batch-size or model, or "
        "fewer --workers"
    )
