"""The page of an inspection."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpmixer.measures.spatial_order import opposite_pairs, spatial_frequency
from mlpmixer.report.attribution_plots import attribution
from mlpmixer.report.inspection_contents import (
    Attribution,
    InspectionContents,
    Representations,
    TokenMixing,
    TokenMixings,
)
from mlpmixer.report.inspection_findings import inspection_findings
from mlpmixer.report.inspection_page import write_inspection
from mlpmixer.report.layer_plots import distributions

GENERATOR = np.random.default_rng(0)


def block(opposition: float = -0.3, units: int = 6) -> TokenMixing:
    inputs = GENERATOR.normal(size=(units, 3, 4)).astype(np.float32)
    return TokenMixing(
        inputs=inputs,
        outputs=inputs,
        frequency=spatial_frequency(inputs),
        reach=np.full(units, 0.4),
        read_write=np.ones(units),
        pairs=opposite_pairs(inputs)[0],
        opposition=np.full(units // 2, opposition),
        chance_opposition=np.linspace(-0.5, -0.1, units // 2),
        power=np.ones(3),
    )


def mixing(*blocks: TokenMixing) -> TokenMixings:
    return TokenMixings(
        blocks=blocks,
        ring_frequency=np.array([0.0, 0.25, 0.5]),
        fresh_frequency=0.38,
        fresh_reach=0.4,
    )


def shown(**changes: Any) -> Attribution:
    occlusion = np.zeros((2, 3))
    occlusion[1, 2] = 2.0
    values: dict[str, Any] = {
        "picture": np.full((4, 6, 3), 100, dtype=np.uint8),
        "name": "photos/1.jpg",
        "predicted": "cat",
        "probability": 0.9,
        "true": "dog",
        "occlusion": occlusion,
        "occluded_probability": np.full((2, 3), 0.55),
        "gradient_input": 2 * occlusion,
        "sensitivity": occlusion,
    }
    return Attribution(**{**values, **changes})


def contents(**changes: Any) -> InspectionContents:
    values: dict[str, Any] = {
        "name": "photos",
        "model": "mixer_nano",
        "data": "pets",
        "facts": {"Blocks": "2"},
        "stem_filters": GENERATOR.normal(size=(5, 2, 2, 3)).astype(np.float32),
        "token_mixing": mixing(block(-0.9), block()),
        "representations": Representations(
            layers=("stem", "1", "2"),
            unit="block",
            branches={"token mixing": np.array([[0.2, 0.4], [0.1, 0.1]])},
            token_similarity=np.full((3, 2), 0.5),
            step_similarity=np.full((2, 2), 0.8),
            alignment=np.eye(3),
            agreement=np.array([0.1, 0.95, 1.0]),
            accuracy=np.array([0.1, 0.8, 0.9]),
        ),
        "attributions": (shown(),),
        **changes,
    }
    return InspectionContents(**values)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    return write_inspection(tmp_path_factory.mktemp("inspect"), contents())


def test_every_figure_is_on_the_page_and_beside_it_with_its_data(
    written: tuple[Path, list[str]],
) -> None:
    page, names = written
    text = page.read_text()
    assert len(names) == len(set(names)) == 13
    for name in names:
        assert f'id="{name}"' in text
        assert len(list((page.parent / "figures").glob(f"{name}.*"))) == 2
        assert len(list((page.parent / "data").glob(f"{name}.*"))) == 1
        assert re.search(rf'download="{name}\.(csv|npz)" href="data:', text)


def test_the_data_of_a_mosaic_are_the_weights_and_their_order(
    written: tuple[Path, list[str]],
) -> None:
    page, _ = written
    with np.load(page.parent / "data" / "token_mixing_block_01.npz") as stored:
        assert stored["inputs"].shape == stored["outputs"].shape == (6, 3, 4)
        assert stored["inputs"].dtype == np.float32
        assert sorted(stored["order"]) == list(range(6))
        partner = stored["partner"]
        np.testing.assert_array_equal(partner[partner], np.arange(6))


def test_the_page_tells_what_its_figures_show(written: tuple[Path, list[str]]) -> None:
    text = unescape(written[0].read_text()).replace("\u00a0", " ")
    for part in (
        "Inside photos",
        "Predicted: cat, 90.0 % (wrong: dog)",
        "row 2, column 3 painted over, the probability is 55.0 %",
        "correlate by 1.00",
        "Pairs of opposite phase stand out most in block 1: 100 %",
        "Token mixing rewrites most in block 1, where it adds 30 %",
        "the answer stands after block 1 of 2",
    ):
        assert part in text


def test_what_is_missing_is_said_and_the_rest_is_there(tmp_path: Path) -> None:
    bare = contents(
        token_mixing=None,
        representations=None,
        attributions=(),
        stem_filters=None,
        notes={"token_mixing": "Left out: no Mixer.", "pictures": "Give --picture."},
    )
    page, names = write_inspection(tmp_path, bare)
    text = page.read_text()
    assert names == []
    assert "Left out: no Mixer." in text
    assert "Give --picture." in text
    assert "Token mixing from layer to layer" not in text


def test_chance_is_not_taken_for_structure() -> None:
    only = contents(token_mixing=mixing(block(-0.3)), representations=None)
    assert any("hardly more frequent than chance" in one for one in inspection_findings(only))


def test_an_answer_that_only_the_last_block_gives_is_said_to_be_so() -> None:
    found = contents().representations
    assert found is not None
    late = contents(representations=replace(found, agreement=np.array([0.1, 0.2, 1.0])))
    assert "Only the last block settles the answer for 90 % of the pictures." in (
        inspection_findings(late)
    )


def test_an_answer_stands_only_once_it_does_not_change_any_more() -> None:
    found = contents().representations
    assert found is not None
    wavering = replace(
        found, layers=("stem", "1", "2", "3"), agreement=np.array([0.1, 0.95, 0.3, 1.0])
    )
    sentences = inspection_findings(contents(representations=wavering))
    assert "Only the last block settles the answer for 90 % of the pictures." in sentences


@pytest.mark.parametrize(
    ("opposed", "told"),
    [((True,), None), ((False, True), "0 % on average, in the second 100 %"),
     ((False, True, False), "0 % on average, in the second 50 %")],
)  # fmt: skip
def test_halves_of_the_blocks_share_no_block(opposed: tuple[bool, ...], told: str | None) -> None:
    blocks = [block(-0.9 if one else -0.05) for one in opposed]
    (sentence,) = [
        one
        for one in inspection_findings(contents(token_mixing=mixing(*blocks), representations=None))
        if "opposite phase" in one
    ]
    assert ("half" in sentence) is (told is not None)
    assert told is None or told in sentence


def test_a_map_colours_what_counts_and_leaves_the_picture_elsewhere() -> None:
    against = shown(gradient_input=-shown().occlusion)
    _, occlusion, gradient, _ = attribution(against).axes
    for axes, sign in ((occlusion, 1), (gradient, -1)):
        pixels = np.asarray(axes.images[0].get_array()).astype(int)
        height, width = pixels.shape[:2]
        red, _, blue = pixels[height - 1, width - 1]  # the patch in row 2, column 3
        assert np.sign(red - blue) == sign
        assert np.ptp(pixels[: height // 2]) == 0  # grey like the picture


@pytest.mark.parametrize("layers", [1, 12, 32])
def test_as_many_layers_as_there_are_can_be_drawn(layers: int) -> None:
    names = [str(index) for index in range(1, layers + 1)]
    quantiles = np.sort(GENERATOR.normal(size=(5, layers)), axis=0)
    figure = distributions(
        quantiles, names, unit="block", quantity="x", reference=0.0, reference_label="none"
    )
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[-1] == names[-1] or layers == 1
    assert len(labels) <= 16


def test_a_dark_or_light_page_shows_through_between_tiles(
    written: tuple[Path, list[str]],
) -> None:
    picture = Image.open(written[0].parent / "figures" / "token_mixing_block_01.png")
    assert picture.convert("RGBA").getextrema()[3] == (0, 255)
