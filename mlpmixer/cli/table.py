"""A result as a table: drawn on a terminal, aligned in a pipe, left to JSON otherwise."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mlpmixer.run.console import Console


def print_table(
    console: "Console",
    record: Mapping[str, object],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    footer: Sequence[str],
    left: int,
) -> None:
    """Give a result: `record` as JSON in JSON mode, else a table with the footer's lines below.

    The first `left` columns are words, the others numbers.
    """
    if console.mode == "live":
        from rich.console import Console as Terminal
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for i, title in enumerate(header):
            justify: Literal["left", "right"] = "left" if i < left else "right"
            table.add_column(Text(title), justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))  # names may hold what is markup in a plain string
        Terminal(highlight=False).print(table)
        console.result(record, "\n".join(footer))
        return
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
    console.result(record, "\n".join([*lines, *footer]))
