"""`optimize`: the same call, the same outputs within bounds, and the model behind it untouched."""

import copy
import json
import logging
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor

import mlpmixer
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import LEVEL_VARIABLE
from mlpmixer.kernels.self_check import choose_level
from mlpmixer.models.interface import ImageModel
from mlpmixer.native_library import Library

needs_kernels = pytest.mark.skipif(library().functions is None, reason=library().reason)
BOUNDS = {"float32": 1e-5, "bfloat16": 0.03, "int8": 0.08}


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path))
    return tmp_path


def model_with_random_head(name: str = "mixer_nano", **options: Any) -> ImageModel:
    torch.manual_seed(0)
    model = mlpmixer.create_model(name, **options).eval()
    with torch.no_grad():
        model.get_parameter("head.weight").normal_(std=0.1)
    return model


def images_for(model: ImageModel, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, *model.image_size, generator=generator) * 2 - 1


def share(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


@needs_kernels
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("gelu", ["tanh", "erf"])
def test_an_optimized_model_answers_as_before(precision: Any, gelu: str) -> None:
    model = model_with_random_head(gelu=gelu)
    optimized = mlpmixer.optimize(model, precision, engine="native")
    images = images_for(model)
    with torch.no_grad():
        tokens, logits = model.forward_features(images), model(images)
    assert share(optimized.forward_features(images), tokens) < BOUNDS[precision]
    assert share(optimized(images), logits) < BOUNDS[precision]
    through_tokens = optimized.forward_head(optimized.forward_features(images))
    assert share(through_tokens, logits) < BOUNDS[precision]


@needs_kernels
def test_foreign_pixel_ranges_are_folded_into_the_stem() -> None:
    for mean, std in (((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.0,), (1.0,))):
        model = model_with_random_head(input_mean=mean, input_std=std)
        images = images_for(model)
        with torch.no_grad():
            logits = model(images)
        assert share(mlpmixer.optimize(model, engine="native")(images), logits) < 1e-5


@needs_kernels
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_every_paper_preset_can_be_packed(precision: Any) -> None:
    for name in ("mixer_s32", "mixer_b16"):
        model = model_with_random_head(name, depth=1, num_classes=20)
        images = images_for(model, 2)
        with torch.no_grad():
            logits = model(images)
        found = mlpmixer.optimize(model, precision, engine="native")(images)
        assert share(found, logits) < BOUNDS[precision]


def test_the_model_behind_stays_as_it_is_and_answers_all_other_questions() -> None:
    model = model_with_random_head()
    before = copy.deepcopy(model.state_dict())
    optimized = mlpmixer.optimize(model, engine="eager")
    optimized(images_for(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert optimized.options == model.options
    assert optimized.image_size == model.image_size
    assert [len(group) for group in optimized.layer_groups()] == [
        len(group) for group in model.layer_groups()
    ]
    _, maps = optimized.forward_intermediates(images_for(model), [0])
    assert torch.equal(maps[0], model.forward_intermediates(images_for(model), [0])[1][0])


def test_an_optimized_model_is_for_inference_alone() -> None:
    optimized = mlpmixer.optimize(model_with_random_head(), engine="eager")
    for change in (optimized.train, lambda: optimized.reset_classifier(3)):
        with pytest.raises(UsageError, match="optimized model"):
            change()
    assert not optimized(images_for(optimized)).requires_grad


@pytest.mark.parametrize("first", ["native", "eager"])
def test_an_optimized_model_can_be_optimized_again(first: Any) -> None:
    if first == "native" and library().functions is None:
        pytest.skip(library().reason)
    model = model_with_random_head()
    again = mlpmixer.optimize(mlpmixer.optimize(model, "bfloat16", first), engine="eager")
    images = images_for(model)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    assert again.unoptimized is model


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_answers_stay_the_same_while_the_model_behind_trains_on(engine: Any) -> None:
    if engine == "native" and library().functions is None:
        pytest.skip(library().reason)
    model = model_with_random_head(dropout=0.5)
    optimized = mlpmixer.optimize(model, engine=engine)
    images = images_for(model)
    before = optimized(images)
    model.train()
    model.get_submodule("blocks.0").eval()  # one part that is frozen
    assert torch.equal(optimized(images), before)
    assert model.training
    assert not model.get_submodule("blocks.0").training
    assert model.get_submodule("blocks.1").training


def test_other_families_are_computed_by_pytorch() -> None:
    model = mlpmixer.create_model("vit_nano").eval()
    optimized = mlpmixer.optimize(model)
    images = images_for(model)
    with torch.no_grad():
        assert torch.allclose(optimized(images), model(images))
    with pytest.raises(MixerError, match="compute Mixers alone, not vit_nano"):
        mlpmixer.optimize(model, engine="native")
    with pytest.raises(MixerError, match="int8 is computed by the native kernels alone"):
        mlpmixer.optimize(model, "int8")


@pytest.mark.parametrize("name", ["mixer_nano", "vit_nano"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_openvino_answers_within_the_bounds_for_any_batch_and_thread(
    name: str, precision: Any
) -> None:
    pytest.importorskip("openvino")
    model = model_with_random_head(name, depth=1) if name == "mixer_nano" else None
    model = model or mlpmixer.create_model(name, depth=1).eval()
    torch.nn.init.normal_(model.get_parameter(model.layer_groups()[-1][0]), std=0.1)
    optimized = mlpmixer.optimize(model, precision, engine="openvino")
    assert optimized.engine.description == f"OpenVINO, {precision}"
    found: dict[int, Tensor] = {}
    threads = [
        Thread(target=lambda n=n: found.update({n: optimized(images_for(model, n))}))
        for n in (1, 3, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with torch.no_grad():
        for batch, logits in found.items():
            assert share(logits, model(images_for(model, batch))) < BOUNDS[precision]
        features = model.forward_features(images_for(model))
    assert share(optimized.forward_features(images_for(model)), features) < BOUNDS[precision]


def test_openvino_leaves_int8_to_the_export() -> None:
    with pytest.raises(MixerError, match="mixer export --format openvino --precision int8"):
        mlpmixer.optimize(model_with_random_head(), "int8", engine="openvino")


def test_wrong_names_are_refused() -> None:
    model = model_with_random_head()
    with pytest.raises(UsageError, match="precision 'float8' is unknown"):
        mlpmixer.optimize(model, "float8")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="engine 'warp' is unknown"):
        mlpmixer.optimize(model, engine="warp")  # type: ignore[arg-type]


@needs_kernels
def test_the_choice_is_timed_once_and_remembered(data_home: Path) -> None:
    model = model_with_random_head()
    mlpmixer.optimize(model)
    (file,) = (data_home / "engines").iterdir()
    choice = json.loads(file.read_text())
    choice["seconds"] = {"native": 2.0, "eager": 1.0}
    file.write_text(json.dumps(choice))
    assert mlpmixer.optimize(model).engine.description == "PyTorch, float32"


@needs_kernels
@pytest.mark.parametrize("content", ["not JSON", "[]", "null", '{"seconds": null}'])
def test_a_damaged_memory_of_the_choice_is_timed_anew(content: str, data_home: Path) -> None:
    model = model_with_random_head()
    mlpmixer.optimize(model)
    (file,) = (data_home / "engines").iterdir()
    file.write_text(content)
    mlpmixer.optimize(model)
    assert json.loads(file.read_text())["seconds"]["native"] > 0


@needs_kernels
def test_a_choice_beside_another_level_of_the_kernels_is_timed_apart(
    data_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_with_random_head()
    monkeypatch.setattr("mlpmixer.engines.optimize.fastest_seconds", lambda *_: 1.0)
    for variable in ("portable", "", "portable"):
        monkeypatch.setenv(LEVEL_VARIABLE, variable)
        mlpmixer.optimize(model)
    monkeypatch.delenv(LEVEL_VARIABLE)
    levels = {"portable", choose_level("float32")}
    assert len(list((data_home / "engines").iterdir())) == len(levels)


def test_that_the_kernels_are_missing_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    missing = Library(None, "the native kernels are not built: build them")
    for user in ("engines.optimize", "kernels.native", "kernels.self_check", "kernels.ceilings"):
        monkeypatch.setattr(f"mlpmixer.{user}.library", lambda: missing)
    with caplog.at_level(logging.INFO, logger="mlpmixer"):
        for name in ("vit_nano", "mixer_nano", "mixer_nano"):
            optimized = mlpmixer.optimize(mlpmixer.create_model(name, depth=1))
            assert optimized.engine.description == "PyTorch, float32"
    (line,) = caplog.messages
    assert line == "the native kernels are not built: build them; PyTorch computes instead"
