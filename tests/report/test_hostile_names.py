"""Names that no one would choose, straight into the writers: none may break a file."""

import base64
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from mlpmixer.files import write_json, write_text
from mlpmixer.measures.calibration import Calibration
from mlpmixer.measures.confusion import Confusion
from mlpmixer.report.model_card import CardFacts, model_card
from mlpmixer.report.run_contents import DatasetFacts, Mistake, ReportContents, SkippedImage
from mlpmixer.report.run_page import write_report

NAMES = (
    "caf\udce9",  # a byte that is not UTF-8, as Python holds it
    "nothing\x00here",
    "\x1b[31mred\x07",
    "two\nlines\r\tand a tab",
    "\u202eright to left",
    "\ufffe\uffff no characters",
    "]]> --> <b>&amp; \"' $\\alpha$",
    "日本語 🙂",
    "long " * 100,
    "",
)
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
"""What neither XML nor HTML may hold."""


def contents() -> ReportContents:
    classes = len(NAMES)
    confusion = Confusion.from_matrix(np.eye(classes, dtype=int) * 5 + 1)
    picture = Image.new("RGB", (8, 8))
    return ReportContents(
        title=NAMES[0],
        model=NAMES[1],
        class_names=NAMES,
        class_correct=confusion.correct,
        class_total=confusion.total,
        confusion=confusion,
        calibration=Calibration(np.ones(2), np.ones(2), np.ones(2)),
        mistakes=tuple(Mistake(picture, name, name, 0.5, name) for name in NAMES),
        dataset=DatasetFacts(
            name=NAMES[2],
            images=dict.fromkeys(NAMES, 3),
            notes=NAMES,
            unreadable=tuple(SkippedImage(name, name) for name in NAMES),
        ),
        recipe_toml=NAMES[0],
        machine={name: name for name in NAMES},
        commands={name: name for name in NAMES},
    )


def test_the_page_and_its_figures_stay_well_formed(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", contents())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not FORBIDDEN.search(page)
    figures = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    assert len(figures) == 3
    for figure in figures:
        ElementTree.fromstring(base64.b64decode(figure))


def test_the_card_stays_text(tmp_path: Path) -> None:
    confusion = contents().confusion
    assert confusion is not None
    measured = {
        "images": 110,
        "split": "test",
        "top1": 0.5,
        "expected_calibration_error": 0.1,
        "per_class": dict.fromkeys(NAMES, 0.5),
        "confusion": confusion.to_json(),
    }
    write_json(tmp_path / "evaluation.json", measured)
    read = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    card = model_card(
        CardFacts(
            model="mixer",
            where=NAMES[0],
            parameters=1,
            image_size=(8, 8),
            num_classes=len(NAMES),
            class_names=NAMES,
            data=NAMES[3],
            evaluation=read,
        )
    )
    write_text(tmp_path / "README.md", str(card))
    assert not FORBIDDEN.search((tmp_path / "README.md").read_text(encoding="utf-8"))
