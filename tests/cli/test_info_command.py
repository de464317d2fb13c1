import contextlib
import io
import json

import pytest

from mlpmixer.cli.info import run
from mlpmixer.data.jpeg import region_decoder
from mlpmixer.errors import UsageError
from mlpmixer.models.registry import list_models
from mlpmixer.native_library import Library


@pytest.fixture(scope="module")
def listing() -> str:
    """What `mixer info` prints into a pipe."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run([]) == 0
    return out.getvalue()


def test_without_a_name_all_models_are_listed_with_their_cost(listing: str) -> None:
    rows = {line.split()[0]: line.split()[1:] for line in listing.splitlines()}
    assert set(list_models()) < set(rows)
    assert rows["mixer_b16"] == ["59.88", "M", "12.602", "224x224"]
    assert rows["nfnet_f4"][-1] == "384x384"
    assert rows["bit_nano"][-1] == "32x32"


def test_a_pipe_gets_aligned_text(listing: str) -> None:
    assert "\x1b" not in listing
    rows = [line for line in listing.splitlines() if line.startswith(tuple(list_models()))]
    assert len({len(row) for row in rows}) == 1


def test_a_model_is_shown_with_like_blocks_folded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mixer_b16"]) == 0
    out = capsys.readouterr().out
    assert "blocks.0-11.mlp_tokens.fc1 ×12" in out
    assert "59,880,472 parameters, 12.602 GMACs an image of 224x224" in out
    assert "196 tokens" in out
    assert len(out.splitlines()) < 40


def test_all_shows_every_block(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mixer_nano", "--all"]) == 0
    out = capsys.readouterr().out
    assert all(f"blocks.{i}.norm1" in out for i in range(8))
    assert "×8" not in out


def test_json_has_every_layer_and_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["vit_nano", "--image-size", "64", "32", "--num-classes", "100", "--json"]
    assert run(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["name"] == "vit_nano"
    assert (record["image_size"], record["num_classes"]) == ([64, 32], 100)
    assert sum(layer["parameters"] for layer in record["layers"]) == record["parameters"]
    assert record["layers"][-1]["output_shape"] == [1, 100]
    assert record["activation_bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mixer_b61"], "mixer_b16"),
        (["--image-size", "32"], "name a model"),
        (["mixer_b16", "--image-size", "230"], "--image-size 224"),
        (["mixer_b16", "--image-size", "1", "2", "3"], "height and width"),
        (["mixer_b16", "--num-classes", "-1"], "--num-classes -1"),
        (["mixer_b16", "--num-clases", "3"], "--num-classes"),
    ],
)
def test_wrong_use_says_what_to_do(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(arguments)


def test_the_machine_is_shown_with_its_kernels_and_limits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--machine", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["facts"]["torch"]
    assert record["kernels"] or all(one["error"] < 0.1 for one in record["levels"])
    assert record["tiles"] or any(one["level"] == "amx" for one in record["levels"])
    assert list(record["training"]) == ["float32", "bfloat16"]
    for precision, level in record["training"].items():
        runs = [one["level"] for one in record["levels"] if one["precision"] == precision]
        assert level in (None, *runs)
    for precision in record["operations"]:
        used = [o for o in record["levels"] if o["precision"] == precision and o["used"]]
        assert record["operations"][precision] > 0
        assert len(used) == (record["computed"][precision] == precision)


def test_the_machine_says_what_of_images_is_built(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Library(None, "the resize is not built: install it")
    monkeypatch.setattr("mlpmixer.engines.this_machine.native_resize", lambda: missing)
    assert run(["--machine"]) == 0
    shown = capsys.readouterr().out
    assert "\nthe resize is not built: install it" in shown
    assert "\n" + (region_decoder().reason or "parts of JPEGs: native, built") in shown


def test_the_machine_is_about_no_model() -> None:
    with pytest.raises(UsageError, match="--machine is about no model"):
        run(["mixer_nano", "--machine"])
