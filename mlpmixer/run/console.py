"""What the command says while it works: to a person, to a pipe, or as JSON to a program."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TextIO, cast

from mlpmixer.errors import MixerError
from mlpmixer.formatting import printable
from mlpmixer.json_text import json_text
from mlpmixer.run.progress import Progress
from mlpmixer.run.quiet_stream import QuietStream

if TYPE_CHECKING:
    from mlpmixer.run.live import LiveDisplay

Mode = Literal["live", "plain", "json"]


class Console:
    """Messages, progress and the result, in the form that suits who reads them.

    live: a display that moves, for a terminal; messages scroll above it. plain: lines, for a pipe
    or a log file, with one of progress every `interval` seconds. json: standard output carries the
    result alone, as JSON; the plain lines go to standard error.

    Where nobody takes the output any more, as in `mixer train | head`, messages go to standard
    error and progress is not told: the work goes on.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        out: TextIO | None = None,
        err: TextIO | None = None,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mode = mode
        self._out = QuietStream(out or sys.stdout)
        self._err = QuietStream(err or sys.stderr)
        self._interval = interval
        self._clock = clock
        self._last_line: float | None = None
        self._depth = 0
        self._display: LiveDisplay | None = None

    @classmethod
    def choose(cls, json: bool) -> Console:
        """Return the console for JSON if asked for, else live on a terminal and plain elsewhere."""
        if json:
            return cls("json")
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        return cls("live" if terminal else "plain")

    @classmethod
    def silent(cls) -> Console:
        """Return a console that says nothing, for a process that others speak for."""
        nowhere = io.StringIO()
        return cls("plain", out=nowhere, err=nowhere)

    def message(self, text: str) -> None:
        """Tell what is going on."""
        if self.mode == "json":
            self._write(self._err, _shown(text))
            return
        self._say(text)
        if self._out.lost:
            self._write(self._err, _shown(text))

    def warning(self, text: str) -> None:
        """Tell what the user should know or put right though the work goes on."""
        text = _shown(text)
        if self.mode == "live":
            self._live().warning(text)
        else:
            self._write(self._err, f"warning: {text}")

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """Show a piece of work while the block runs; another one may be shown inside it.

        When the block ends, also by Ctrl-C, the terminal is as it was before.
        """
        title = printable(title)
        if self.mode == "live":
            progress = Progress(title, self._clock, lambda _: None)  # it redraws by itself
            with self._live().showing(progress):
                yield progress
                progress.finished = True
            return
        progress = Progress(title, self._clock, self._line_if_due)
        self._depth += 1
        try:
            yield progress
        finally:
            self._depth -= 1
        progress.finished = True
        if self._depth == 0:  # what ran inside other work would only clutter a log
            self._line(progress)

    def result(self, record: Mapping[str, object], text: str) -> None:
        """Give the outcome: `record` as JSON in json mode, `text` otherwise.

        Raises:
            BrokenPipeError: nobody reads standard output any more.
            MixerError: it cannot be written to, or could not before: a full disk.
        """
        if self.mode == "json":
            self._write(self._out, json_text(record, indent=2, encoding=self._out.encoding))
        else:
            self._say(text)
        if isinstance(self._out.lost, BrokenPipeError):
            raise self._out.lost
        if lost := self._out.lost:
            raise MixerError(f"cannot write the output: {lost.strerror or lost}.") from lost

    def _say(self, text: str) -> None:
        if self.mode == "live":
            self._live().message(_shown(text))
        else:
            self._write(self._out, _shown(text))

    def _line_if_due(self, progress: Progress) -> None:
        now = self._clock()
        if self._last_line is None or now - self._last_line >= self._interval:
            self._line(progress)

    def _line(self, progress: Progress) -> None:
        self._last_line = self._clock()
        self._write(self._err if self.mode == "json" else self._out, progress.line())

    def _live(self) -> LiveDisplay:
        if self._display is None:
            from mlpmixer.run.live import LiveDisplay

            self._display = LiveDisplay(cast(TextIO, self._out))
        return self._display

    @staticmethod
    def _write(stream: QuietStream, text: str) -> None:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()


def let_all_characters_pass() -> None:
    """Let standard output spell out what its encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _shown(text: str) -> str:
    """Return lines without control characters, which a file's name may hold."""
    return "\n".join(map(printable, text.split("\n")))
