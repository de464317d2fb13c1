"""Weights as other trainers leave them: wrapped, averaged, among objects of all kinds."""

import argparse
import collections
import copy
import dataclasses
import datetime
import enum
import functools
import os
import pathlib
import subprocess
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.errors import MixerError, UsageError

# isort: split
from timm.models.mlp_mixer import MlpMixer
from timm.utils import ModelEmaV3


@pytest.fixture(scope="module")
def network() -> MlpMixer:
    """A Mixer of timm."""
    torch.manual_seed(1)
    shape = {"img_size": 16, "patch_size": 4, "num_blocks": 2, "embed_dim": 24, "num_classes": 5}
    model = MlpMixer(**shape).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def averaged(network: MlpMixer) -> ModelEmaV3:
    """The same with another head, as the average of a training."""
    averaged = ModelEmaV3(network)
    with torch.no_grad():
        averaged.module.head.weight.mul_(2)
    return averaged


def read(content: object, file: Path, **options: Any) -> mlpmixer.models.interface.ImageModel:
    torch.save(content, file, **options)
    return mlpmixer.load(file)


@torch.inference_mode()
def assert_logits_of(theirs: nn.Module, ours: nn.Module) -> None:
    images = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)
    expected: Tensor = theirs(images)
    assert torch.allclose(ours(images), expected, atol=1e-4 * float(expected.abs().max()))


WRAPPINGS: dict[str, Callable[[nn.Module], object]] = {
    "plain": lambda net: net.state_dict(),
    "DataParallel": lambda net: nn.DataParallel(net).state_dict(),
    "torch.compile": lambda net: torch.compile(net).state_dict(),
    "both": lambda net: torch.compile(nn.DataParallel(net)).state_dict(),
    "a class of one's own": lambda net: nn.ModuleDict({"backbone": net}).state_dict(),
    "a container": lambda net: {"model": net.state_dict(), "epoch": 3},
    "two containers": lambda net: {"ckpt": {"net": nn.DataParallel(net).state_dict()}},
    "an optimizer beside it": lambda net: {
        "model_state_dict": net.state_dict(),
        "optimizer": torch.optim.AdamW(net.parameters()).state_dict(),
    },
    "Lightning's": lambda net: {
        "state_dict": {f"model.{name}": one for name, one in net.state_dict().items()},
        "pytorch-lightning_version": "2.0",
    },
    "a counter among the tensors": lambda net: {**net.state_dict(), "epoch": 3},
    "the same under two keys": lambda net: {"model": (s := net.state_dict()), "state_dict": s},
    "averages alone": lambda net: torch.optim.swa_utils.AveragedModel(net).state_dict(),
    "a whole model with its code": lambda net: net,
    "such a model in a container": lambda net: {"model": nn.DataParallel(net)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_weights_are_found_whatever_is_wrapped_around_them(
    wrapping: str, network: MlpMixer, tmp_path: Path
) -> None:
    assert_logits_of(network, read(WRAPPINGS[wrapping](network), tmp_path / "x.pth.tar"))


def test_blocks_that_are_compiled_by_themselves_are_found(tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=2)
    mlpmixer.export(model, tmp_path / "x.pth", "timm")
    state = torch.load(tmp_path / "x.pth")
    renamed = {name.replace("s.1.", "s.1._orig_mod."): one for name, one in state.items()}
    again = read(renamed, tmp_path / "y.pth")
    assert all(torch.equal(one, again.state_dict()[n]) for n, one in model.state_dict().items())


@pytest.mark.parametrize("prefix", ["params/", "opt/target/"])
def test_prefixes_of_arrays_are_taken_off_as_well(prefix: str, tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=2)
    mlpmixer.export(model, tmp_path / "x.npz", "google")
    arrays = {f"{prefix}{name}": one for name, one in np.load(tmp_path / "x.npz").items()}
    np.savez(tmp_path / "y.npz", **arrays)
    again = mlpmixer.load(tmp_path / "y.npz")
    assert all(torch.equal(one, again.state_dict()[n]) for n, one in model.state_dict().items())


class Options:
    """A configuration of somebody's own class."""

    def __init__(self) -> None:
        self.rate = 0.1


class DictOptions(dict[str, Any]):
    """One that is a dictionary, as those of several libraries."""


class Phase(enum.Enum):
    WARM_UP = "warm up"


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    rate: float = 0.1


HARMLESS: dict[str, object] = {
    "plain values": (1, 2**70, 2.0, "x", b"x", None, True, 1j, [], {}),
    "sets and slices": [{1}, frozenset([1]), slice(1, 2), range(3), bytearray(b"x")],
    "collections": [
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        collections.Counter("aab"),
    ],
    "paths": [pathlib.Path("runs/x"), pathlib.PureWindowsPath("C:/x")],
    "times": [datetime.datetime(2024, 1, 1), datetime.timedelta(1), datetime.date(2024, 1, 1)],
    "numbers of NumPy": [np.float64(71.2), np.int64(3), np.bool_(True), np.dtype("u1")],
    "arrays of NumPy": [np.arange(3), np.array(["a"])],
    "the state of NumPy's generators": [np.random.get_state(), np.random.default_rng(0)],
    "things of PyTorch": [
        torch.device("cpu"),
        torch.float32,
        torch.Size([1]),
        torch.__version__,
        torch.get_rng_state(),
    ],
    "a namespace": types.SimpleNamespace(a=1),
    "a function's arguments": functools.partial(nn.LayerNorm, eps=1e-6),
    "a function and a class by name": [nn.functional.gelu, nn.LayerNorm],
    "an object": Options(),
    "an object that is a dictionary": DictOptions(a=1),
    "an object with slots": Slots(),
    "a member of an enumeration": Phase.WARM_UP,
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_trainers_store_beside_the_weights_does_not_matter(
    what: str, network: MlpMixer, tmp_path: Path
) -> None:
    arguments = argparse.Namespace(lr=0.1, other=HARMLESS[what])
    content = {"state_dict": network.state_dict(), "args": arguments, what: HARMLESS[what]}
    assert_logits_of(network, read(content, tmp_path / "x.pth"))


def test_what_an_older_pytorch_does_not_read_is_refused_in_plain_words(
    network: MlpMixer, tmp_path: Path
) -> None:
    content = {"state_dict": network.state_dict(), "losses": collections.deque([1])}
    refused = ""
    try:
        assert_logits_of(network, read(content, tmp_path / "x.pth"))
    except MixerError as error:  # before PyTorch 2.14
        refused = str(error)
    assert "weights_only" not in refused
    assert not refused or "Save the weights alone" in refused


def test_nothing_stays_allowed_after_a_file_is_read(network: MlpMixer, tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())  # PyTorch 2.11 keeps them in no order
    read({"model": network.state_dict(), "args": Options()}, tmp_path / "x.pth")
    assert set(torch.serialization.get_safe_globals()) == before


def test_files_from_before_pytorch_1_6_are_read(network: MlpMixer, tmp_path: Path) -> None:
    content = {"state_dict": network.state_dict(), "args": argparse.Namespace(lr=np.float64(0.1))}
    file = tmp_path / "old.pth"
    assert_logits_of(network, read(content, file, _use_new_zipfile_serialization=False))


class Calls:
    """Something that calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {}"),
        (os.mkdir, "{}"),
        (eval, "open({!r}, 'w')"),
        (exec, "open({!r}, 'w')"),
        (subprocess.getoutput, "touch {}"),
        (subprocess.Popen, "touch {}"),
        (np.save, "{}"),
        (torch.load, "{}"),
        (getattr, "{}"),
    ],
)
def test_code_in_a_checkpoint_is_refused_and_not_run(
    function: Callable[..., object],
    argument: str,
    zipped: bool,
    network: MlpMixer,
    tmp_path: Path,
) -> None:
    trap = tmp_path / "trap"
    content = {"model": network.state_dict(), "x": Calls(function, argument.format(str(trap)))}
    with pytest.raises(MixerError, match=r"bad\.pth is refused: reading it would call") as refused:
        read(content, tmp_path / "bad.pth", _use_new_zipfile_serialization=zipped)
    assert function.__name__ in str(refused.value)
    assert not trap.exists()


def timm_checkpoint(network: MlpMixer, averaged: ModelEmaV3) -> dict[str, object]:
    """What timm's training script saves."""
    return {
        "epoch": 3,
        "arch": "mixer_b16_224",
        "state_dict": network.state_dict(),
        "optimizer": torch.optim.AdamW(network.parameters()).state_dict(),
        "version": 2,
        "args": argparse.Namespace(lr=0.1, output=pathlib.Path("x")),
        "amp_scaler": {},
        "state_dict_ema": averaged.module.state_dict(),
        "metric": np.float64(71.2),
    }


def test_averaged_weights_are_taken_and_the_plain_ones_offered(
    network: MlpMixer, averaged: ModelEmaV3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "last.pth.tar"
    ours = read(timm_checkpoint(network, averaged), file)
    assert_logits_of(averaged.module, ours)
    (remark,) = caplog.messages
    assert "averaged" in remark
    assert f"{file}#plain" in remark
    caplog.clear()
    assert_logits_of(network, mlpmixer.load(f"{file}#plain"))
    assert_logits_of(network, mlpmixer.load(file, weights="plain"))
    assert_logits_of(network, mlpmixer.load(file, weights="state_dict"))
    assert_logits_of(averaged.module, mlpmixer.load(file, weights="averaged"))
    assert not caplog.messages
    with pytest.raises(UsageError, match="'state_dict', 'state_dict_ema'"):
        mlpmixer.load(file, weights="model")
    with pytest.raises(UsageError, match="both say which"):
        mlpmixer.load(f"{file}#plain", weights="averaged")


def test_a_file_whose_name_has_the_sign_of_a_choice_is_read(
    network: MlpMixer, tmp_path: Path
) -> None:
    assert_logits_of(network, read(network.state_dict(), tmp_path / "epoch#3.pth"))


@pytest.mark.parametrize(
    ("plain", "average"),
    [
        ("model", "model_ema"),
        ("params", "params_ema"),
        ("net.module", "ema.module"),
        ("network", "swa_model"),
    ],
)
def test_averages_are_known_by_what_they_are_called(
    plain: str, average: str, network: MlpMixer, averaged: ModelEmaV3, tmp_path: Path
) -> None:
    states = {plain: network.state_dict(), average: averaged.module.state_dict()}
    flat = {f"{k}.{name}": one for k, state in states.items() for name, one in state.items()}
    for content in (states, flat):
        file = tmp_path / "x.pth"
        assert_logits_of(averaged.module, read(content, file))
        assert_logits_of(network, mlpmixer.load(file, weights="plain"))


def test_of_several_networks_one_has_to_be_chosen(
    network: MlpMixer, averaged: ModelEmaV3, tmp_path: Path
) -> None:
    content = {"student": network.state_dict(), "teacher": averaged.module.state_dict()}
    file = tmp_path / "x.pth"
    with pytest.raises(UsageError, match=f"'student', 'teacher': choose one, as in {file}#student"):
        read(content, file)
    assert_logits_of(network, mlpmixer.load(f"{file}#student"))


def test_tensors_beside_the_mixer_are_named(
    network: MlpMixer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {f"backbone.{name}": one for name, one in network.state_dict().items()}
    assert_logits_of(network, read({**state, "metric.total": torch.ones(1)}, tmp_path / "x.pth"))
    assert "left out 1 tensor beside the Mixer, such as 'metric.total'" in caplog.text


def test_the_command_warns_and_takes_the_choice(
    network: MlpMixer,
    averaged: ModelEmaV3,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "last.pth.tar"
    torch.save(timm_checkpoint(network, averaged), file)
    assert main(["convert", str(file), str(tmp_path / "averaged.safetensors")]) == 0
    assert f"warning: {file} has averaged and plain weights." in capsys.readouterr().err
    assert main(["convert", f"{file}#plain", str(tmp_path / "plain.safetensors")]) == 0
    assert not capsys.readouterr().err
    assert main(["info", f"{file}#plain"]) == 0
    assert_logits_of(network, mlpmixer.load(tmp_path / "plain.safetensors"))
    assert_logits_of(averaged.module, mlpmixer.load(tmp_path / "averaged.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {n: one.int() for n, one in state.items()}, "of int32, not of real numbers"),
        (lambda state: list(state.values()), "holds no tensors with names, but a list"),
        (lambda state: {}, "holds no tensors with names"),
        (lambda state: torch.ones(3), "but a Tensor"),
    ],
)
def test_other_content_is_named(
    change: Callable[[Any], object], message: str, network: MlpMixer, tmp_path: Path
) -> None:
    with pytest.raises(MixerError, match=message):
        read(change(network.state_dict()), tmp_path / "x.pth")


def test_the_bare_tensors_of_a_model_of_ours_come_with_the_remedy(tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1)
    with pytest.raises(MixerError, match=r"write it with mlpmixer\.save"):
        read(model.state_dict(), tmp_path / "x.pth")
    model.load_state_dict(torch.load(tmp_path / "x.pth"))
    mlpmixer.save(model, tmp_path / "x.safetensors")
    mlpmixer.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_wrapped_models_are_saved_as_what_is_in_them(
    wrap: Callable[[nn.Module], Any], tmp_path: Path
) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=2)
    model.blocks[1] = torch.compile(model.blocks[1])
    mlpmixer.save(wrap(model), tmp_path / "x.safetensors", ["a", "b"])
    mlpmixer.export(wrap(model), tmp_path / "x.npz", "google")
    for file in ("x.safetensors", "x.npz"):
        again = mlpmixer.load(tmp_path / file).state_dict()
        assert torch.equal(again["norm.weight"], model.state_dict()["norm.weight"])
        assert "blocks.1.norm1.weight" in again
    with pytest.raises(UsageError, match="no model of create_model"):
        mlpmixer.save(wrap(nn.Linear(1, 1)), tmp_path / "y.safetensors")


def test_weights_are_found_in_what_holds_itself(network: MlpMixer, tmp_path: Path) -> None:
    looped: dict[str, Any] = {"model": network.state_dict()}
    looped["trainer"] = {"checkpoint": looped}
    assert_logits_of(network, read(looped, tmp_path / "looped.pth"))
    whole = copy.deepcopy(network)
    whole.blocks.add_module("owner", whole)
    assert_logits_of(network, read({"model": whole}, tmp_path / "whole.pth"))


def test_a_dictionary_is_searched_once_however_often_it_is_held(
    network: MlpMixer, tmp_path: Path
) -> None:
    held: dict[str, Any] = dict(network.state_dict())
    for _ in range(4):
        held = {str(number): held for number in range(200)}
    assert_logits_of(network, read(held, tmp_path / "held.pth"))
