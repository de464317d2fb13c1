"""A contact sheet: some of the pictures with what was predicted of them, as PNG or HTML."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mlpmixer.data.picture import decode
from mlpmixer.data.unlabelled import Pictures
from mlpmixer.deploy.result_files import NamedRow
from mlpmixer.files import replacing
from mlpmixer.formatting import percent
from mlpmixer.models.preprocessing import SixteenBit
from mlpmixer.report.prediction_page import PredictedPicture, write_prediction_page
from mlpmixer.report.sheet_style import (
    GREY,
    INK,
    MARGIN,
    PAPER,
    RULE,
    sheet_fonts,
    shortened,
    square,
)

SUFFIXES = (".html", ".png")
MOST = 60
"""Pictures on a sheet; of more, as many are shown, evenly spread."""
_ANSWERS = 5
_COLUMNS, _TILE, _GAP, _BAR = 6, 160, 22, 3
_SIDE = 224  # pixels, at least, of a picture on a page


def spread(count: int) -> set[int]:
    """Return the positions of the pictures to show among `count`."""
    return set(np.linspace(0, count - 1, min(MOST, count)).round().astype(int).tolist())


def write_sheet(
    path: Path,
    title: str,
    total: int,
    rows: Sequence[NamedRow],
    pictures: Pictures,
    sixteen_bit: SixteenBit,
) -> None:
    """Draw pictures with their most probable classes into a .png or .html file.

    Args:
        path: the file; its suffix, one of SUFFIXES, says which.
        title: the heading: whose predictions these are.
        total: number of all pictures.
        rows: those to show, each of a picture that can be read.
        pictures: where they are.
        sixteen_bit: how 16 bits a value become 8.

    Raises:
        UnreadableImage: a picture has vanished meanwhile.
        MixerError: the file cannot be written.
    """
    facts = [f"{total:,} {'picture' if total == 1 else 'pictures'}"]
    if len(rows) < total:
        facts.append(f"{len(rows):,} of them shown")
    shown = [
        PredictedPicture(
            name,
            decode(pictures, row.position, at_least=_SIDE, sixteen_bit=sixteen_bit),
            tuple((one.label, one.probability) for one in row.predictions[:_ANSWERS]),
        )
        for name, row in rows
    ]
    if path.suffix.lower() == ".html":
        write_prediction_page(path, title, facts, shown)
        return
    sheet = _drawn(title, ", ".join(facts), shown)
    with replacing(path) as part:
        sheet.save(part)


def _drawn(title: str, note: str, shown: Sequence[PredictedPicture]) -> Image.Image:
    fonts = sheet_fonts(_TILE)
    columns = min(_COLUMNS, max(1, len(shown)))
    answers = max((len(one.answers) for one in shown), default=0)
    line, header = 19, 88
    cell = _TILE + answers * (line + _BAR + 1) + line + _GAP
    least = max(fonts.title.getlength(title), fonts.note.getlength(note))
    width = 2 * MARGIN + max(columns * (_TILE + _GAP) - _GAP, int(least))
    height = header + -(-len(shown) // columns) * cell - _GAP + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 22), title, font=fonts.title, fill=INK)
    draw.text((MARGIN, 54), note, font=fonts.note, fill=GREY)
    for number, one in enumerate(shown):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (_TILE + _GAP), header + row * cell
        sheet.paste(square(one.picture, _TILE), (left, top))
        y = top + _TILE + 4
        for place, (label, probability) in enumerate(one.answers):
            font, ink = (fonts.label, INK) if not place else (fonts.note, GREY)
            share = percent(probability)
            room = _TILE - int(font.getlength(share)) - 8
            draw.text((left, y), shortened(label, font, room), font=font, fill=ink)
            draw.text((left + _TILE, y), share, font=font, fill=ink, anchor="ra")
            draw.rectangle((left, y + line, left + _TILE - 1, y + line + _BAR - 2), fill=RULE)
            if (end := round(probability * _TILE)) > 0:
                bar = (left, y + line, left + end - 1, y + line + _BAR - 2)
                draw.rectangle(bar, fill=INK if not place else GREY)
            y += line + _BAR + 1
        file = shortened(one.name.rsplit("/", 1)[-1], fonts.note, _TILE)
        draw.text((left, y), file, font=fonts.note, fill=GREY)
    return sheet
