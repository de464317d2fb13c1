"""Numbers and names as people read them."""

import re
import unicodedata
from collections.abc import Iterable

_JOINERS = "\u200c\u200d"  # part of how some scripts and emoji are written
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of what does not show, breaks a line or turns the direction of a text."""


def printable(text: str) -> str:
    """Return `text` in the one form in which names are compared and every output can write them.

    Letters with accents are one character each (NFC, as macOS's file names are not). What cannot
    be seen is spelt out: control characters and marks of direction as `\\t` or `\\u202e`, and bytes
    of a file name that are not UTF-8 as `\\xe9`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_spelt_out, unicodedata.normalize("NFC", text)))


def _spelt_out(letter: str) -> str:
    point = ord(letter)
    no_character = point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF  # nor may XML hold it
    hidden = no_character or unicodedata.category(letter) in _HIDDEN
    if not hidden or letter in _JOINERS:
        return letter
    if "\udc80" <= letter <= "\udcff":  # how Python holds a byte that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def without_secrets(text: str) -> str:
    """Return `text`, the addresses in it without user, query and fragment, where keys stand."""
    return _ADDRESS.sub(r"\1\2", text) if "://" in text else text


_ADDRESS = re.compile(r"([A-Za-z][\w+.-]*://)(?:[^\s/\"'?#]*@)?([^\s\"'?#]*)(?:[?#][^\s\"']*)?")


def percent(share: float, digits: int = 1) -> str:
    """Return a share in [0, 1] as "88.1 %"."""
    return f"{100 * share:.{digits}f} %"


def number(value: float) -> str:
    """Return about three significant digits: "1,234", "56.7", "0.123", "3e-04"."""
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    if value == 0 or abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.1e}"


def counted(count: int, one: str, more: str = "") -> str:
    """Return a count with its noun: "1 image", "5,000 images"; `more` where the plural has no s."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def clock(seconds: float) -> str:
    """Return a duration as "0:07", "12:34" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Return a duration in words: "7.2 s", "12 min 34 s", "1 h 2 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def memory(size: int) -> str:
    """Return bytes as "512 MB" or "1.2 GB" (powers of 1,000)."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def size_text(size: Iterable[int]) -> str:
    """Return the size of an image as "224x192"."""
    return "x".join(map(str, size))


def magnitude(count: int) -> str:
    """Return a large count as "59.9 M" or "61.2 k"."""
    if count >= 1_000_000:
        return f"{count / 1e6:,.1f} M"
    return f"{count / 1e3:.1f} k" if count >= 1_000 else str(count)


def shortened(text: str, length: int) -> str:
    """Return `text`, printable, on one line with at most `length` characters, cut in its middle."""
    text = printable(" ".join(text.split()))
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[head + 1 - length :]}"


def capitalized(text: str) -> str:
    """Return `text` with a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]
