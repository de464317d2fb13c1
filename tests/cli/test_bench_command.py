"""`mixer bench`: engines and precisions of a model side by side, and what they cost in accuracy."""

import json
from pathlib import Path

import pytest

from mlpmixer.cli.main import main
from mlpmixer.engines import engine
from mlpmixer.kernels import ceilings
from mlpmixer.kernels.library import library

BRIEF = ["--rounds", "1", "--seconds", "0.001", "--largest-batch", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("bench") / "run"
    brief = ["--data", "digits", "--steps", "30", "--device", "cpu", "--workers", "0"]
    assert main(["train", "--recipe", "quick", *brief, "--depth", "2", "--out", str(run)]) == 0
    return run


def test_engines_and_precisions_are_measured_and_the_impossible_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = ["mixer_nano", "--image-size", "16", "--precisions", "float32", "int8"]
    assert main(["bench", *model, *BRIEF, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = {(one["engine"], one["precision"]): one for one in record["engines"]}
    assert len(found) == 4
    assert found["eager", "float32"]["images_per_second"] > 0
    assert found["eager", "float32"]["latency_seconds"] > 0
    assert found["eager", "float32"]["batch_size"] in (1, 2)
    assert found["eager", "int8"]["images_per_second"] is None
    assert "int8" in found["eager", "int8"]["description"]
    assert record["machine"]["torch"]


def test_a_trained_model_keeps_its_accuracy_and_the_change_is_shown(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["bench", str(trained), *BRIEF, "--accuracy", "--workers", "0", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert main(["eval", str(trained), "--workers", "0", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)["top1"]
    measured = [one for one in record["engines"] if one["images_per_second"]]
    for one in measured:
        assert one["top1"] == pytest.approx(own + one["top1_change"], abs=5e-3)
    exact = next(one for one in measured if one["precision"] == "float32")
    assert exact["top1_change"] == pytest.approx(0, abs=5e-3)


def test_the_table_says_where_bfloat16_is_computed_in_float32(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if library().functions is None:
        pytest.skip("no native kernels here")
    for module in (engine, ceilings):
        monkeypatch.setattr(module, "arithmetic", lambda _: "float32")
    model = ["mixer_nano", "--image-size", "16", "--engines", "native"]
    assert main(["bench", *model, "--precisions", "float32", "bfloat16", *BRIEF]) == 0
    said = capsys.readouterr().out
    assert said.count("computed in") == 1
    assert "native, bfloat16: computed in float32, which is faster here" in said


def test_the_table_names_the_model_and_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    model = ["mixer_nano", "--image-size", "16", "--precisions", "float32", "--engines", "eager"]
    assert main(["bench", *model, *BRIEF]) == 0
    said = capsys.readouterr().out
    assert "mixer_nano on " in said
    assert [line.split()[:2] for line in said.splitlines() if line.startswith("eager")] == [
        ["eager", "float32"]
    ]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (["mixer_nan"], "'mixer_nan'"),
        (["mixer_nano", "--data", "digits"], "--accuracy"),
        (["mixer_nano", "--accuracy"], "random weights"),
        (["mixer_nano", "--image-size", "8", "8", "8"], "image size"),
        (["mixer_nano", "--engines", "eager", "--precisions", "int8"], "nothing can compute"),
        (["mixer_nano", "--rounds", "0"], "--rounds 0"),
        (["no/such.safetensors"], "no/such.safetensors"),
    ],
)
def test_wrong_use_is_named(
    wrong: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *wrong]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert len(said.strip().splitlines()) == 1


def test_a_stored_model_keeps_its_image_size(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(trained), "--image-size", "64"]) == 2
    assert "leave --image-size out" in capsys.readouterr().err
