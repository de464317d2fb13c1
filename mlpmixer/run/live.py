"""The moving progress display of a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mlpmixer.formatting import percent
from mlpmixer.run.progress import Progress


class LiveDisplay:
    """One display for all work in progress, below the messages."""

    def __init__(self, out: TextIO) -> None:
        self._terminal = Terminal(file=out, highlight=False)
        self._shown: list[Progress] = []

    def message(self, text: str) -> None:
        """Print a line, above the display if one is shown."""
        self._terminal.print(Text(text), soft_wrap=True)

    def warning(self, text: str) -> None:
        """Print a warning, above the display if one is shown."""
        self._terminal.print(Text.assemble(("warning: ", "bold yellow"), text), soft_wrap=True)

    @contextmanager
    def showing(self, progress: Progress) -> Iterator[None]:
        """Show `progress` while the block runs. The outermost one stays readable afterwards."""
        self._shown.append(progress)
        try:
            if len(self._shown) > 1:
                yield
            else:
                with Live(
                    console=self._terminal, get_renderable=self._render, refresh_per_second=5
                ):
                    yield
        finally:
            self._shown.remove(progress)

    def _render(self) -> RenderableType:
        return Group(*map(self._render_one, self._shown))

    @staticmethod
    def _render_one(progress: Progress) -> RenderableType:
        bar = ProgressBar(
            total=1.0,
            completed=progress.fraction,
            complete_style="blue",
            finished_style="green",
        )
        first = Table.grid(padding=(0, 2), expand=True)
        first.add_column(no_wrap=True)
        first.add_column(ratio=1)
        first.add_column(justify="right", no_wrap=True)
        first.add_column(justify="right", no_wrap=True)
        first.add_row(
            Text(progress.title, "bold"), bar, percent(progress.fraction, 0), progress.timing()
        )
        facts = progress.facts()
        return Group(first, Text("   ".join(facts), "dim")) if facts else first
