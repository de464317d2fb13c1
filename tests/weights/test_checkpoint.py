"""Model files: the same bits come back, and damage is named."""

import json
import resource
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mlpmixer
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.preprocessing import Preprocessing


@pytest.mark.parametrize("name", ["mixer_nano", "vit_nano", "bit_nano", "nfnet_nano"])
def test_a_saved_model_comes_back_to_the_same_bits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mlpmixer.create_model(name, image_size=32, num_classes=3)
    file = tmp_path / "model.safetensors"
    mlpmixer.save(model, file, ["a", "b", "ü"], step=7)
    again = mlpmixer.load(file)
    assert again.class_names == ("a", "b", "ü")
    assert again.facts == {"step": 7}
    assert again.name == name
    assert not again.training
    assert all(parameter.requires_grad for parameter in again.parameters())
    state = again.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.eval()(images), again(images))


def test_a_disk_without_room_is_named_and_the_file_that_was_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    model = mlpmixer.create_model("mixer_nano", image_size=32)
    mlpmixer.save(model, file)
    content = file.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, before[1]))
    try:
        with pytest.raises(MixerError, match=r"cannot write .*model\.safetensors: File too large"):
            mlpmixer.save(model, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, was)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == content


def test_the_preprocessing_belongs_to_the_weights(tmp_path: Path) -> None:
    model = mlpmixer.create_model("vit_nano", image_size=(16, 24))
    model.preprocessing = Preprocessing(image_size=(16, 24), crop_share=1.0)
    model.save(tmp_path / "model.safetensors")
    assert mlpmixer.load(tmp_path / "model.safetensors").preprocessing == model.preprocessing
    with safe_open(tmp_path / "model.safetensors", framework="pt") as stored:
        said = json.loads(stored.metadata()["mlpmixer"])["preprocessing"]
    assert said["image_size"] == [16, 24]
    assert (said["mean"], said["std"], said["resampling"]) == ([0.5], [0.5], "bilinear")


def test_names_are_kept_when_a_loaded_model_is_saved(tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1)
    mlpmixer.save(model, tmp_path / "one.safetensors", ["a", "b"])
    mlpmixer.save(mlpmixer.load(tmp_path / "one.safetensors"), tmp_path / "two.safetensors")
    assert mlpmixer.load(tmp_path / "two.safetensors").class_names == ("a", "b")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1)
    mlpmixer.save(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def rewrite(file: Path, changes: dict[str, torch.Tensor | None]) -> None:
    """Write the file again with some tensors changed or, where None, left out."""
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
    tensors = {**load_file(file), **changes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, file, metadata=metadata)


def test_a_missing_tensor_is_named(saved: Path) -> None:
    rewrite(saved, {"norm.bias": None})
    with pytest.raises(MixerError, match=r"lacks the tensor 'norm\.bias'"):
        mlpmixer.load(saved)


def test_a_foreign_tensor_is_named(saved: Path) -> None:
    rewrite(saved, {"extra.weight": torch.zeros(1)})
    with pytest.raises(MixerError, match=r"extra\.weight"):
        mlpmixer.load(saved)


def test_a_tensor_of_the_wrong_shape_is_named(saved: Path) -> None:
    rewrite(saved, {"norm.bias": torch.zeros(3)})
    with pytest.raises(MixerError, match=r"norm\.bias.*\(3,\).*\(128,\)"):
        mlpmixer.load(saved)


def test_a_truncated_file_is_named(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(MixerError, match=r"model\.safetensors is damaged"):
        mlpmixer.load(saved)


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="no Mixer of a known layout"):
        mlpmixer.load(tmp_path / "other.safetensors")


def test_an_unknown_model_in_a_file_is_named(tmp_path: Path) -> None:
    description = {"name": "mixer_nan", "options": {}, "class_names": None, "facts": {}}
    metadata = {"mlpmixer": json.dumps(description)}
    save_file({"weight": torch.zeros(1)}, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(UsageError, match="mixer_nano"):
        mlpmixer.load(tmp_path / "x.safetensors")


def test_a_missing_file_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing"):
        mlpmixer.load(tmp_path / "nothing.safetensors")
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        mlpmixer.load(tmp_path)


def test_buffers_that_files_leave_out_are_filled(tmp_path: Path) -> None:
    name = "timm:swin_tiny_patch4_window7_224"
    shape = {"embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4}
    torch.manual_seed(0)
    model = mlpmixer.create_model(name, image_size=32, num_classes=3, **shape).eval()
    torch.nn.init.normal_(list(model.parameters())[-2])  # the head starts at zero
    model.save(tmp_path / "swin.safetensors")
    again = mlpmixer.load(tmp_path / "swin.safetensors")
    assert not any(buffer.is_meta for buffer in again.buffers())
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(again(images), model(images))


def test_the_loss_of_the_training_comes_back_with_the_weights(tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1)
    model.loss = "sigmoid"
    mlpmixer.save(model, tmp_path / "one.safetensors")
    again = mlpmixer.load(tmp_path / "one.safetensors")
    assert again.loss == "sigmoid"
    logits = torch.tensor([[0.0, 0.0]])
    assert torch.equal(again.probabilities(logits), torch.tensor([[0.5, 0.5]]))


def describe(file: Path, **changes: object) -> None:
    """Write a file of ours again with its description changed; "left out" leaves one out."""
    with safe_open(file, framework="pt") as stored:
        description = {**json.loads(stored.metadata()["mlpmixer"]), **changes}
    kept = {name: value for name, value in description.items() if value != "left out"}
    save_file(load_file(file), file, metadata={"mlpmixer": json.dumps(kept)})


def test_files_that_do_not_say_the_loss_are_of_softmax(saved: Path) -> None:
    describe(saved, loss="left out")
    assert mlpmixer.load(saved).loss == "softmax"


def test_an_unknown_loss_is_named(saved: Path) -> None:
    describe(saved, loss="hinge")
    with pytest.raises(MixerError, match=r"model\.safetensors is damaged.*'hinge'"):
        mlpmixer.load(saved)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_of_another_precision_comes_back_in_float32(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1).to(dtype)
    mlpmixer.save(model, tmp_path / "x.safetensors")
    again = mlpmixer.load(tmp_path / "x.safetensors")
    assert {one.dtype for one in again.parameters()} == {torch.float32}
    assert torch.equal(again.norm.weight, model.norm.weight.float())
    assert again(torch.zeros(1, 3, 8, 8)).shape == (1, 2)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_named(dtype: torch.dtype, saved: Path) -> None:
    rewrite(saved, {"norm.bias": torch.zeros(128, dtype=dtype)})
    with pytest.raises(MixerError, match=r"'norm\.bias' is of \w+, not of real numbers"):
        mlpmixer.load(saved)


def test_an_order_of_pixels_that_is_no_integers_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    mlpmixer.create_model("mixer_nano", image_size=8, depth=1, input_shuffle="pixels").save(file)
    rewrite(file, {"order": torch.zeros(64)})
    with pytest.raises(MixerError, match="'order' is of float32, not int64"):
        mlpmixer.load(file)
