"""From command line arguments to a verb's options, with errors of one line."""

import contextlib
import inspect
import io
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro

from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.values import Range, check_ranges, range_of, type_hints

T = TypeVar("T")

_FLAG = re.compile(r"--[A-Za-z][\w-]*")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
"""The colours a terminal shows; a complaint to one is written in them."""


def parse(kind: type[T], verb: str, arguments: Sequence[str], default: T | None = None) -> T:
    """Return the options of `kind` that the arguments of `mixer VERB` give.

    Raises:
        UsageError: a flag is unknown, with the nearest ones, or a value is of the wrong form or out
            of its range.
    """
    known = flags(kind)
    for argument in arguments:
        match = _FLAG.match(argument)
        if match and match.group().replace("_", "-") not in known:
            remedy = f"`mixer {verb} --help` lists all."
            raise unknown_name("option", match.group(), sorted(known - {"--help"}), remedy)
    _show_ranges(kind)
    complaint = io.StringIO()
    asks_for_help = not {"-h", "--help"}.isdisjoint(arguments)
    try:
        with contextlib.redirect_stderr(complaint), _terminal(None if asks_for_help else "1000"):
            options = tyro.cli(
                kind,
                prog=f"mixer {verb}",
                description=inspect.getdoc(kind),
                args=list(arguments),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff),
                default=tyro.MISSING_NONPROP if default is None else default,
            )
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        raise UsageError(f"{_plain(complaint.getvalue())} See `mixer {verb} --help`.") from None
    check_ranges(options)
    return options


@contextlib.contextmanager
def _terminal(columns: str | None) -> Iterator[None]:
    """Let a complaint be written for a terminal so wide that no line of it is broken."""
    before = os.environ.get("COLUMNS")
    if columns is not None:
        os.environ["COLUMNS"] = columns
    try:
        yield
    finally:
        if before is not None:
            os.environ["COLUMNS"] = before
        elif columns is not None:
            del os.environ["COLUMNS"]


def _show_ranges(kind: type[Any]) -> None:
    """Let the help of a dataclass of options say which values its numbers may take."""
    for name, annotation in type_hints(kind).items():
        if isinstance(annotation, type) and is_dataclass(annotation):
            _show_ranges(annotation)
        limits = range_of(annotation)
        if limits is not None:
            hint = tyro.conf.arg(help_behavior_hint=partial(_range_and_default, limits))
            kind.__annotations__[name] = Annotated[annotation, hint]


def _range_and_default(limits: Range, default: str) -> str:
    return f"({limits})" if default == "None" else f"({limits}; default: {default})"


def flags(kind: type[Any]) -> set[str]:
    """Return the flags of a dataclass of options, nested ones included."""
    found = {"--help", "--tyro-print-completion", "--tyro-write-completion"}
    hints = get_type_hints(kind, include_extras=True)
    for one in fields(kind):
        hint, *marks = (
            get_args(hints[one.name]) if _annotated(hints[one.name]) else [hints[one.name]]
        )
        if is_dataclass(hint) and isinstance(hint, type):
            found |= flags(hint)
            continue
        renamed = next((name for mark in marks if (name := getattr(mark, "name", None))), None)
        name = renamed or one.name.replace("_", "-")
        found.add(f"--{name}")
        if hint is bool:
            found.add(f"--no-{name}")
    return found


def _annotated(hint: object) -> bool:
    return get_origin(hint) is Annotated


def given(arguments: Sequence[str]) -> set[str]:
    """Return the names of the flags among the arguments, with underscores and no dashes."""
    matches = [_FLAG.match(argument) for argument in arguments]
    return {match.group()[2:].replace("-", "_") for match in matches if match}


def without(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the arguments but for the flags of these names and their values."""
    kept: list[str] = []
    left_out = False
    for argument in arguments:
        match = _FLAG.match(argument)
        if match:
            left_out = match.group()[2:].replace("-", "_") in names
        if not left_out:
            kept.append(argument)
    return kept


def _plain(complaint: str) -> str:
    """Return tyro's framed complaint as one sentence."""
    lines = [line.strip("╭╮╰╯│ ").strip() for line in _COLOUR.sub("", complaint).splitlines()]
    boxed = lines[1:]  # the first one is the title of the frame
    if boxed and _is_rule(boxed[0]):  # where the terminal's characters make no frame
        boxed = boxed[1:]
    rule = next((n for n, line in enumerate(boxed) if _is_rule(line)), len(boxed))
    sentence = re.sub(r"\s+", " ", " ".join(boxed[:rule])).strip().rstrip(".")
    sentence = sentence.partition(" Got errors:")[0].rstrip(".]")  # of each of several types
    wrong = re.match(r"Error parsing (--[\w-]+): .*?('[^']*')?$", sentence)
    if wrong:
        flag, value = wrong.groups()
        form = next((line.removeprefix(flag) for line in boxed[rule:] if line.startswith(flag)), "")
        form = re.sub(r"None\||, --no.*", "", re.sub(r"[{}]", "", form)).strip() or "a value"
        form = form.replace("|", " or ")
        return f"{flag} takes {form}{f', not {value}' if value else ''}."
    return f"{sentence[:1].lower()}{sentence[1:]}."


def _is_rule(line: str) -> bool:
    return len(line) > 2 and set(line) <= {"─", "-"}
