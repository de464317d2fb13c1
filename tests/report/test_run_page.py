import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from mlpmixer.measures.calibration import Calibration
from mlpmixer.measures.confusion import Confusion
from mlpmixer.report.run_contents import DatasetFacts, Mistake, ReportContents, SkippedImage
from mlpmixer.report.run_findings import findings
from mlpmixer.report.run_page import write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The page's text, tags and attributes; fails on tags that do not match."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.open, self.words = [], [], []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def calibration(*bins):
    confidence, accuracy, counts = np.array(bins, dtype=float).T
    return Calibration(counts, confidence, accuracy)


def make_contents(class_names=("cat", "dog", "emu"), **changes):
    classes = len(class_names)
    confusion = np.diag(np.full(classes, 900)) + 20
    confusion[1, 0] = 130
    values = {
        "title": "pets",
        "model": "mixer_s16",
        "class_names": tuple(class_names),
        "class_correct": np.diag(confusion),
        "class_total": confusion.sum(axis=1),
        "confusion": Confusion.from_matrix(confusion),
        "dataset": DatasetFacts(name="photos", images={"train": 8000, "test": 2800}),
        **changes,
    }
    return ReportContents(**values)


def make_full_contents(**changes):
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (h, 9, 3), np.uint8)) for h in (8, 300)]
    return make_contents(
        metrics={"top1": 0.923, "expected_calibration_error": 0.0104},
        calibration=calibration((0.5, 0.48, 100), (0.95, 0.94, 2700)),
        mistakes=tuple(Mistake(picture, "cat", "dog", 0.97, "a/1.jpg") for picture in pictures),
        dataset=DatasetFacts(
            name="photos",
            images={"train": 8000, "test": 2800},
            notes=("Validation was held out.",),
            unreadable=(SkippedImage("b/2.jpg", "truncated file"),),
        ),
        records=(
            {"step": 1, "loss": 2.0, "train_accuracy": 0.5},
            {"step": 2, "loss": 1.0, "validation_accuracy": 0.6, "learning_rate": 1e-3},
        ),
        parameters=18_528_264,
        training_seconds=754.0,
        training_images_per_second=1234.0,
        evaluation_images_per_second=4567.0,
        peak_memory_bytes=1_800_000_000,
        stem_filters=rng.normal(size=(10, 4, 4, 3)),
        token_mixing_units={"block 1": rng.normal(size=(8, 3, 5))},
        recipe_toml='[model]\nname = "mixer_s16"\n',
        machine={"CPU": "two cores"},
        commands={"Train it again": "mixer train --recipe recipe.toml"},
        finished="today",
        **changes,
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "report.html"
    write_report(path, make_full_contents())
    return path


def test_the_page_answers_how_good_it_is_and_what_it_confuses(full):
    text = Page(full).text
    for fact in (
        "92.3 % of 2,990 test images",
        "95 % interval",
        "always answering “dog”",
        "dog cat 130",
        "Expected calibration error 1.04 %",
    ):
        assert fact in text


def test_the_page_holds_all_that_was_given(full):
    text = Page(full).text
    for fact in (
        "18.5 M",
        "12 min 34 s",
        "1,234",
        "4,567",
        "1.8 GB",
        "train 8,000",
        "Validation was held out.",
        "b/2.jpg truncated file",
        'name = "mixer_s16"',
        "two cores",
        "mixer train --recipe recipe.toml",
        "a/1.jpg",
        "today",
    ):
        assert fact in text


def test_the_page_needs_nothing_else(full):
    page = Page(full)
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
    assert not page.all("script")
    assert not page.all("link")
    assert "@import" not in page.source
    assert "url(" not in page.source
    pictures = [image["src"].split(",")[1] for image in page.all("img")]
    for svg in (base64.b64decode(data) for data in pictures):
        assert not re.findall(rb'(?:href|src)="(?!#|data:)|<script|<!DOCTYPE', svg)


def test_links_lead_to_a_part_of_the_page(full):
    page = Page(full)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [link["href"] for link in page.all("a")]
    assert len(links) == 7
    assert all(link[1:] in ids for link in links)


def test_the_page_can_be_read_without_seeing_it(full):
    page = Page(full)
    assert all(image["alt"] for image in page.all("img"))
    assert all(header.get("scope") in ("row", "col") for header in page.all("th"))
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert page.all("html")[0]["lang"] == "en"


def test_the_page_suits_dark_screens_phones_and_paper(full):
    page = Page(full)
    for rule in ("prefers-color-scheme: dark", "max-width: 760px", "@media print"):
        assert rule in page.source
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))


def test_every_figure_is_also_a_png_file(full):
    names = {path.name for path in (full.parent / "figures").iterdir()}
    assert names == {
        "training_curves.png",
        "confusion_matrix.png",
        "class_accuracy.png",
        "reliability.png",
        "mistakes.png",
        "weights_stem.png",
        "weights_token_mixing_0.png",
    }
    for name in names:
        with Image.open(full.parent / "figures" / name) as picture:
            assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_small_pictures_stay_exact_and_large_ones_are_shrunk(full):
    images = [image for image in Page(full).all("img") if image["alt"] == "cat taken for dog"]
    assert images[0]["class"] == "pixels"
    assert images[0]["src"].startswith("data:image/png;")
    assert images[1]["src"].startswith("data:image/jpeg;")


def test_what_is_not_known_is_left_out(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, make_contents(confusion=None))
    page = Page(path)
    for absent in ("Peak memory", "calibration error", "Learned weights", "Recipe", "mistakes"):
        assert absent not in page.text
    assert [image["alt"][:8] for image in page.all("img")] == ["Accuracy"]


def test_a_model_without_mistakes_gets_a_report(tmp_path):
    confusion = np.diag([40, 60])
    write_report(
        tmp_path / "report.html",
        make_contents(
            ["a", "b"],
            confusion=Confusion.from_matrix(confusion),
            class_correct=np.diag(confusion),
            class_total=np.diag(confusion),
        ),
    )
    assert "there is no mistake" in Page(tmp_path / "report.html").text


def test_names_are_text_never_markup(tmp_path):
    hostile = '<script>alert("x")</script>'
    names = (hostile, "R&D", "日本語 🙂")
    path = tmp_path / "report.html"
    mistake = Mistake(Image.new("RGB", (8, 8)), hostile, "R&D", 0.5, '"><img src=x>')
    write_report(
        path,
        make_contents(
            names,
            title=hostile,
            model=hostile,
            mistakes=(mistake,),
            dataset=DatasetFacts(name=hostile, images={hostile: 1}, notes=(hostile,)),
            recipe_toml=hostile,
            machine={hostile: hostile},
            commands={hostile: hostile},
        ),
    )
    page = Page(path)
    assert not page.all("script")
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert hostile in page.text
    assert "日本語 🙂" in page.text
    assert f"{hostile} taken for R&D" in [image["alt"] for image in page.all("img")]


def test_keys_in_addresses_are_not_on_the_page(tmp_path):
    signed = "https://me:SECRET@host/a.tar?key=SECRET"
    write_report(
        tmp_path / "report.html",
        make_contents(
            dataset=DatasetFacts(name=signed, images={}, notes=(f"{signed} was read",)),
            recipe_toml=f'data = "{signed}"',
            commands={"Train it again": f"mixer train --data '{signed}'"},
        ),
    )
    page = Page(tmp_path / "report.html")
    assert "SECRET" not in page.source
    assert "mixer train --data 'https://host/a.tar'" in page.text


def test_a_thousand_classes_stay_usable(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, make_contents([f"class number {index}" for index in range(1000)]))
    page = Page(path)
    unfolded = re.sub(r"<details>.*?</details>", "", page.source, flags=re.DOTALL)
    assert unfolded.count("<tr>") < 20
    assert page.source.count("<tr>") > 1000
    assert len(page.source) < 2_000_000


def test_only_so_many_mistakes_are_shown(tmp_path):
    path = tmp_path / "report.html"
    mistake = Mistake(Image.new("RGB", (8, 8)), "cat", "dog", 0.5)
    write_report(path, make_contents(mistakes=(mistake,) * 100))
    page = Page(path)
    assert sum(image["alt"] == "cat taken for dog" for image in page.all("img")) == 48
    assert "36 more" in page.text


def titles(contents):
    return [finding.title for finding in findings(contents) if not finding.good]


def test_a_sound_evaluation_has_no_caution():
    assert titles(make_contents(calibration=calibration((0.95, 0.94, 2800)))) == []


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"split": "validation"}, "Measured on validation images"),
        ({"class_correct": np.array([3, 3, 3]), "class_total": np.array([4, 4, 4])},
         "Only 12 images tested"),
        ({"class_correct": np.array([900, 0, 0]), "class_total": np.array([900, 50, 50])},
         "Hardly better than guessing"),
        ({"class_correct": np.array([900, 900, 500]), "class_total": np.array([1000] * 3)},
         "A class falls behind"),
        ({"class_correct": np.array([900, 900, 0]), "class_total": np.array([1000, 1000, 0])},
         "Untested classes"),
        ({"calibration": calibration((0.95, 0.80, 2800))}, "Over-confident"),
        ({"calibration": calibration((0.60, 0.80, 2800))}, "Under-confident"),
        ({"records": ({"train_accuracy": 0.99}, {"validation_accuracy": 0.80})}, "Over-fitted"),
        ({"dataset": DatasetFacts(name="x", images={}, shared={("train", "test"): 3})},
         "Train and test share pictures"),
        ({"dataset": DatasetFacts(name="x", images={}, conflicting_labels=3)},
         "One picture, two labels"),
        ({"dataset": DatasetFacts(name="x", images={}, unreadable=(SkippedImage("a", "b"),))},
         "1 unreadable image"),
    ],
)  # fmt: skip
def test_each_weakness_is_named(changes, title):
    assert title in titles(make_contents(confusion=None, **changes))


def test_pictures_that_other_splits_share_do_not_matter():
    dataset = DatasetFacts(name="x", images={}, shared={("train", "validation"): 3})
    assert titles(make_contents(dataset=dataset)) == []


def test_contents_that_do_not_fit_together_are_refused():
    contents = make_contents()
    with pytest.raises(ValueError, match="confusion is of 2 classes, not 3"):
        replace(contents, confusion=Confusion.from_matrix(np.eye(2)))
    with pytest.raises(ValueError, match=r"class_total has shape \(2,\), not \(3,\)"):
        replace(contents, class_total=np.ones(2, dtype=int))
    with pytest.raises(ValueError, match="at least one evaluated image"):
        replace(contents, class_total=np.zeros(3, dtype=int))
