"""`mixer export`: the file answers as its source, is checked before it appears, and is a model."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from google.protobuf import text_format
from torch import Tensor
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, TYPE_UINT8, ModelConfig

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.data.augment import normalize
from mlpmixer.deploy.export import Exported, ExportOptions, check_target, export_model
from mlpmixer.deploy.export_check import compare
from mlpmixer.deploy.export_images import images_of, photographs
from mlpmixer.deploy.exports import find_format, format_names
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.preprocessing import Preprocessing

NAMES = ("daisy", 'the "rose" <red> & é', "tulip")
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}


def model_of(name: str = "mixer_nano", **options: Any) -> ImageModel:
    torch.manual_seed(0)
    size = {} if name.startswith("halonet") else {"image_size": 16}
    if name == "mixer_nano":
        options = {"depth": 2, **options}
    model = mlpmixer.create_model(name, num_classes=3, **size, **options)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(("head.weight", "fc.weight")):
                parameter.normal_()
    model.class_names = NAMES
    model.facts = {"data": "/home/me/secret/flowers"}
    return model.eval()


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return model_of()


def exported(model: ImageModel, out: Path, format: str, **how: Any) -> Exported:
    check = photographs(model.preprocessing)[:12]
    options = ExportOptions(format=format, check=check, source="/home/me/x", **how)
    return export_model(model, out, options)


@pytest.mark.parametrize("format", SUFFIX)
@pytest.mark.parametrize("input_type", ["float32", "uint8"])
def test_an_export_is_a_model_with_all_that_belongs_to_it(
    model: ImageModel, tmp_path: Path, format: str, input_type: Any
) -> None:
    out = tmp_path / f"flowers{SUFFIX[format]}"
    exported(model, out, format, input_type=input_type)
    loaded = mlpmixer.load(out)
    pixels = photographs(model.preprocessing)[:5]
    with torch.no_grad():
        expected = model(normalize(pixels))
    torch.testing.assert_close(loaded(normalize(pixels)), expected, rtol=1e-4, atol=1e-4)
    assert loaded.class_names == NAMES
    assert loaded.preprocessing == model.preprocessing
    assert (loaded.name, loaded.loss, loaded.num_classes) == ("mixer_nano", "softmax", 3)
    assert loaded.facts == {"data": "flowers"}
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"/home/me" not in content
    assert str(Path(mlpmixer.__file__).parent).encode() not in content


SHALLOW: dict[str, dict[str, Any]] = {
    "vit_nano": {"depth": 1},
    "bit_nano": {"layers": (1, 1)},
    "nfnet_nano": {"depths": (1, 1), "channels": (32, 64)},
    "halonet_nano": {"depths": (1, 1, 1)},
    "mixer_nano": {"input_shuffle": "pixels"},
}


def test_the_model_behind_an_optimized_one_is_exported(model: ImageModel, tmp_path: Path) -> None:
    written = exported(mlpmixer.optimize(model, "bfloat16"), tmp_path / "x.pt2", "torch")
    assert written.comparison.passes


@pytest.mark.parametrize("name", SHALLOW)
def test_every_family_becomes_every_format(name: str, tmp_path: Path) -> None:
    model = model_of(name, **SHALLOW[name])
    for format, suffix in SUFFIX.items():
        comparison = exported(model, tmp_path / f"{name}{suffix}", format).comparison
        assert comparison.largest > 0
        assert comparison.difference < 1e-4 * comparison.largest


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_int8_is_calibrated_on_images(format: str, tmp_path: Path) -> None:
    model = model_of(depth=1)
    calibration, check, unreadable = images_of("digits", model.preprocessing, 20, 16)
    assert (len(calibration), len(check), unreadable) == (20, 16, [])
    out = tmp_path / f"small{SUFFIX[format]}"
    options = ExportOptions(format=format, precision="int8", check=check, calibration=calibration)
    written = export_model(model, out, options)
    assert 1e-5 < written.comparison.difference / written.comparison.largest < 0.5
    full = exported(model, tmp_path / f"full{SUFFIX[format]}", format)
    assert written.size < 0.7 * full.size
    with pytest.raises(UsageError, match="--data"):
        exported(model, tmp_path / f"none{SUFFIX[format]}", format, precision="int8")


def test_openvino_in_half_precision_takes_half_the_space(model: ImageModel, tmp_path: Path) -> None:
    half = exported(model, tmp_path / "half.xml", "openvino", precision="float16")
    full = exported(model, tmp_path / "full.xml", "openvino")
    assert half.files[1].stat().st_size < 0.6 * full.files[1].stat().st_size


def test_an_export_that_answers_otherwise_is_a_failure_and_leaves_no_file(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(model: ImageModel, *rest: Any, **how: Any) -> Any:
        with torch.no_grad():
            other = model_of()
            other.get_parameter("head.bias").add_(0.5)
        return traced(other, *rest, **how)

    traced = importlib.import_module("mlpmixer.models.traced").traced
    monkeypatch.setattr("mlpmixer.deploy.exports.torch.traced", changed)
    with pytest.raises(MixerError, match=r"does not answer as its source.*differ by at most 0\.5"):
        exported(model, tmp_path / "wrong.pt2", "torch")
    assert not list(tmp_path.iterdir())


def test_bounds_are_on_logits_and_on_the_first_class(model: ImageModel) -> None:
    pixels = photographs(model.preprocessing)
    assert compare(model, model, pixels, "float32").passes

    class Turned(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return model(images).flip(1)

    turned = compare(model, Turned(), pixels, "int8")  # type: ignore[arg-type]
    assert turned.agreement < 1
    assert not turned.passes


@pytest.mark.parametrize("format", SUFFIX)
def test_what_only_weights_can_do_is_refused_in_plain_words(
    model: ImageModel, tmp_path: Path, format: str
) -> None:
    out = tmp_path / f"flowers{SUFFIX[format]}"
    exported(model, out, format)
    loaded = mlpmixer.load(out)
    images = torch.zeros(1, 3, 16, 16)
    for use in (
        lambda: loaded.forward_features(images),
        lambda: loaded.train(),
        lambda: loaded.resized(32),
        lambda: loaded.reset_classifier(2),
        lambda: loaded.forward_intermediates(images),
        lambda: loaded.layer_groups(),
        lambda: loaded.save(tmp_path / "again.safetensors"),
        lambda: exported(loaded, tmp_path / f"again{out.suffix}", format),
        lambda: mlpmixer.optimize(loaded, "int8"),
        lambda: mlpmixer.optimize(loaded, engine="eager"),
    ):
        with pytest.raises(UsageError, match="exported file"):
            use()
    with pytest.raises(ValueError, match="expected"):
        loaded(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("format", SUFFIX)
def test_a_predictor_takes_it_from_many_threads(
    model: ImageModel, tmp_path: Path, format: str
) -> None:
    out = tmp_path / f"flowers{SUFFIX[format]}"
    exported(model, out, format)
    predictor = mlpmixer.Predictor.load(out)
    batches = list(photographs(model.preprocessing).split(4))
    expected = [predictor.probabilities(batch) for batch in batches]
    found: list[Tensor | None] = [None] * len(batches)

    def work(index: int) -> None:
        for _ in range(5):
            found[index] = predictor.probabilities(batches[index])

    threads = [Thread(target=work, args=(index,)) for index in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_triton_repository_holds_model_labels_and_configuration(
    model: ImageModel, tmp_path: Path
) -> None:
    model.save(tmp_path / "flowers.safetensors")
    repository = tmp_path / "models"
    asked = ["export", str(tmp_path / "flowers.safetensors"), "--triton", str(repository)]
    assert main([*asked, "--format", "onnx", "--input", "uint8"]) == 0
    folder = repository / "flowers"
    assert (folder / "labels.txt").read_text().splitlines() == list(NAMES)
    configuration = (folder / "config.pbtxt").read_text()
    read = text_format.Parse(configuration, ModelConfig())  # as Triton reads it
    assert (read.name, read.platform) == ("flowers", "onnxruntime_onnx")
    assert (read.input[0].data_type, list(read.input[0].dims)) == (TYPE_UINT8, [3, 16, 16])
    assert (read.output[0].data_type, list(read.output[0].dims)) == (TYPE_FP32, [3])
    assert read.output[0].label_filename == "labels.txt"
    assert read.max_batch_size > 1
    assert read.dynamic_batching.max_queue_delay_microseconds > 0
    assert mlpmixer.load(folder / "1" / "model.onnx").class_names == NAMES
    assert [one.name for one in repository.iterdir()] == ["flowers"]
    assert main([*asked, "--format", "onnx"]) == 2  # it is there already


@pytest.mark.parametrize(
    "verb",
    [
        ["info", "x.pt2"],
        ["inspect", "x.pt2", "--out", "new"],
        ["convert", "x.pt2", "new.npz"],
        ["convert", "x.pt2", "new.safetensors"],
        ["finetune", "--from", "x.pt2", "--data", "digits", "--steps", "1", "--out", "new"],
        ["fewshot", "--from", "x.pt2", "--data", "digits", "--shots", "1"],
        ["export", "x.pt2", "--out", "new.onnx"],
    ],
    ids=lambda verb: f"{verb[0]} {verb[-1]}",
)
def test_verbs_that_need_weights_say_so(
    verb: list[str],
    model: ImageModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path / "cache"))
    exported(model, Path("x.pt2"), "torch")
    assert main(verb) == 2
    assert "exported file" in capsys.readouterr().err
    assert not list(tmp_path.glob("new*"))


def test_the_command_writes_what_eval_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=10, depth=1)
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    model.class_names = tuple("0123456789")
    model.save(tmp_path / "digits.safetensors", data="digits")
    out = tmp_path / "digits.onnx"
    source = str(tmp_path / "digits.safetensors")
    assert main(["export", source, "--out", str(out), "--data", "digits", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["top1_agreement"] == 1
    assert told["images"] == 32
    results = []
    for one in (source, str(out)):
        assert main(["eval", one, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["top1"] == pytest.approx(results[1]["top1"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.npz"], "say where to: --out FILE"),
        (["x.npz", "--out", "x.tflite"], "x.tflite is of an unknown kind"),
        (["x.npz", "--out", "x.onnx", "--format", "onx"], "Did you mean onnx?"),
        (["x.npz", "--out", "x.onnx", "--precision", "int8"], "give --data SOURCE"),
        (["x.npz", "--out", "x.onnx"], "no file 'x.npz'"),
        (["x.npz", "--out", "x.onnx", "--name", "y"], "--name is for --triton"),
        (["x.npz", "--triton", "models"], "--triton needs --format"),
        (["MODEL", "--out", "x.onnx", "--precision", "float16"], "no precision 'float16'"),
        (["MODEL", "--out", "x.xml", "--format", "onnx"], "is written as .onnx"),
        (["MODEL", "--triton", "models", "--format", "torch"], "ONNX or OpenVINO"),
        (["MODEL", "--out", "MODEL"], "is of an unknown kind"),
    ],
)
def test_wrong_use_is_named(
    arguments: list[str],
    expected: str,
    model: ImageModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model.save("model.safetensors")
    asked = ["model.safetensors" if one == "MODEL" else one for one in arguments]
    assert main(["export", *asked]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_missing_library_is_named_with_its_command(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for format, library in (("onnx", "onnx"), ("openvino", "openvino")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)  # as if it could not be found
            with pytest.raises(UsageError, match=r'pip install "mlpmixer\[export\]"'):
                exported(model, tmp_path / f"x{SUFFIX[format]}", format)
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_the_other_format_is_named(model: ImageModel, tmp_path: Path) -> None:
    from torch._inductor import config

    with (
        config.patch({"cpp.cxx": ("no-such-compiler",)}),  # a monkeypatch would leave none behind
        pytest.raises(MixerError, match=r"C\+\+ compiler, or use --format torch"),
    ):
        exported(model, tmp_path / "x.pt2", "aotinductor")
    assert not list(tmp_path.iterdir())


def test_large_weights_lie_beside_an_onnx_graph(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exported(model, tmp_path / "small.onnx", "onnx").files == (tmp_path / "small.onnx",)
    monkeypatch.setattr("mlpmixer.deploy.exports.onnx.LARGEST_FILE", 1000)
    written = exported(model, tmp_path / "large.onnx", "onnx")
    assert written.files == (tmp_path / "large.onnx", tmp_path / "large.onnx.data")
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        expected = model(images)
    found = mlpmixer.load(tmp_path / "large.onnx")(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("format", "beside"), [("openvino", "flowers.bin"), ("onnx", "flowers.onnx.data")]
)
def test_a_file_that_has_the_name_of_a_part_is_not_written_over(
    format: str, beside: str, model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpmixer.deploy.exports.onnx.LARGEST_FILE", 1000)
    (tmp_path / beside).write_bytes(b"weights of mine")
    with pytest.raises(UsageError, match=rf"{beside} exists already.* move it away"):
        exported(model, tmp_path / f"flowers{SUFFIX[format]}", format)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [
        (beside, b"weights of mine")
    ]


def test_a_file_that_openvino_would_write_over_is_known_at_once(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.bin").touch()
    chosen = find_format("openvino")
    with pytest.raises(UsageError, match=r"model\.bin exists already"):
        check_target(model, Path("model.xml"), chosen, "openvino", "float32")
    check_target(model, None, chosen, "openvino", "float32")  # --triton writes it elsewhere


def test_formats_are_found_by_listing() -> None:
    assert {*SUFFIX, "aotinductor"} == set(format_names())


def test_parts_of_photographs_are_no_constant() -> None:
    pixels = photographs(Preprocessing(image_size=(16, 24)))
    assert pixels.shape == (32, 3, 16, 24)
    assert pixels.float().std() > 30


def test_openvino_and_nncf_look_for_no_network() -> None:
    """Their counting of uses is hidden from them: no address is looked up, no socket opened."""
    code = """
import socket
def refuse(*arguments, **named):
    raise SystemExit("network: " + repr(arguments))
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from mlpmixer.weights.exported.extra import library
openvino, nncf = library("openvino", "x"), library("nncf", "x")
import openvino.tools.ovc, sys
assert sys.modules["openvino_telemetry"] is None
print(type(openvino.tools.ovc.telemetry).__module__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"
