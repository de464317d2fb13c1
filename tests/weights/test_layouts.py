"""Foreign weights: the same logits as in the code that they come from, and the same bits back."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import mlpmixer
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.weights import layouts
from mlpmixer.weights.checkpoint import export
from mlpmixer.weights.layouts import layout_names

# isort: split
from timm.models.mlp_mixer import MlpMixer

GOLDEN = Path(__file__).parents[1] / "golden"
FLAX = GOLDEN / "official_mixer_tiny.npz"


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> bool:
    """Tell whether the largest difference is within `tolerance` of the largest value."""
    return float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


def randomize(module: nn.Module) -> None:
    """Give every parameter a value that shows when it is misplaced."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


@torch.inference_mode()
def test_the_authors_npz_gives_the_logits_of_their_flax_module() -> None:
    model = mlpmixer.load(FLAX)
    expected = np.load(GOLDEN / "official_mixer_tiny_io.npz")
    images = torch.from_numpy(expected["images_nhwc"]).permute(0, 3, 1, 2)
    assert close(model(images), torch.from_numpy(expected["logits"]))
    assert model.options["gelu"] == "tanh"
    assert model.image_size == (16, 16)
    assert not model.training
    assert model.name == "mixer"  # of no preset's shape


def older(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the authors' tensors as their older files have them."""
    renamed = {}
    for name, array in tensors.items():
        if name.startswith("stem/"):
            name = name.replace("stem", "embedding")
        elif name.startswith("pre_head"):
            name = name.replace("pre_head_layer_norm", "Mixer/encoder_norm")
        elif name.startswith("MixerBlock_"):
            name = name.replace("MixerBlock_", "Mixer/encoderblock_")
            for mixing in ("token_mixing", "channel_mixing"):
                for layer in (0, 1):
                    phase = f"{mixing}_phase_0"
                    name = name.replace(
                        f"{mixing}/Dense_{layer}/kernel", f"{phase}/kernel{layer + 1}"
                    )
                    name = name.replace(f"{mixing}/Dense_{layer}/bias", f"{phase}/bias{layer + 1}")
            if "_phase_0" in name:
                array = array[None]  # the singleton dimensions of those files
        renamed[name] = array
    return renamed


def test_the_authors_older_files_hold_the_same_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "older.npz", **older(dict(np.load(FLAX))))
    one, other = mlpmixer.load(FLAX), mlpmixer.load(tmp_path / "older.npz")
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def timm_mixer(num_classes: int = 5) -> MlpMixer:
    model = MlpMixer(
        img_size=16, patch_size=4, num_blocks=2, embed_dim=24, num_classes=num_classes
    ).eval()
    randomize(model)
    return model


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@torch.inference_mode()
def test_timms_weights_give_the_logits_of_timms_module(suffix: str, tmp_path: Path) -> None:
    theirs, file = timm_mixer(), tmp_path / f"mixer{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": theirs.state_dict()}, file)
    else:
        save_file(theirs.state_dict(), file)
    images = torch.randn(2, 3, 16, 16)
    ours = mlpmixer.load(file)
    assert ours.options["gelu"] == "erf"
    assert close(ours(images), theirs(images))


@torch.inference_mode()
def test_a_headless_checkpoint_gives_the_pooled_representation(tmp_path: Path) -> None:
    theirs = timm_mixer(num_classes=0)
    save_file(theirs.state_dict(), tmp_path / "mixer.safetensors")
    images = torch.randn(2, 3, 16, 16)
    assert close(mlpmixer.load(tmp_path / "mixer.safetensors")(images), theirs(images))


@torch.inference_mode()
def test_a_hub_folder_brings_its_normalisation_and_class_names(tmp_path: Path) -> None:
    theirs = timm_mixer()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    mean, std, names = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], list("abcde")
    config = {"pretrained_cfg": {"mean": mean, "std": std, "label_names": names}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = mlpmixer.load(tmp_path)
    pixels = torch.rand(2, 3, 16, 16)  # in [0, 1]
    normalized = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert close(model(pixels * 2 - 1), theirs(normalized))
    assert model.class_names == tuple("abcde")
    mlpmixer.save(model, tmp_path / "ours.safetensors")
    assert torch.equal(mlpmixer.load(tmp_path / "ours.safetensors")(pixels), model(pixels))


def hub_folder(folder: Path, **config: object) -> Path:
    save_file(timm_mixer().state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": config}))
    return folder


def test_a_hub_folder_brings_its_evaluation_crop(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path, crop_pct=0.9, interpolation="bicubic")
    found = mlpmixer.load(folder).preprocessing
    assert (found.crop_share, found.resampling) == (0.9, "bicubic")


def test_an_unknown_interpolation_of_the_hub_is_told_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = hub_folder(tmp_path, interpolation="random")
    assert mlpmixer.load(folder).preprocessing.resampling == "bilinear"
    assert "'random' interpolation: bilinear is used" in caplog.text


def test_an_impossible_crop_of_the_hub_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(MixerError, match=r"config\.json: crop share 1\.5"):
        mlpmixer.load(hub_folder(tmp_path, crop_pct=1.5))


class LucidrainsHalf(nn.Module):
    """A residual branch with the module names of that layout."""

    def __init__(self, dim: int, size: int, hidden: int, pointwise: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

        def dense(i: int, o: int) -> nn.Module:
            return nn.Conv1d(i, o, kernel_size=1) if pointwise else nn.Linear(i, o)

        self.fn = nn.Sequential(
            dense(size, hidden), nn.GELU(), nn.Identity(), dense(hidden, size), nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(self.norm(x))


class Patches(nn.Module):
    """Cuts images into patches whose values lie row, column, channel."""

    def forward(self, images: Tensor) -> Tensor:
        patches = images.unflatten(3, (-1, 4)).unflatten(2, (-1, 4))  # (B, 3, h, 4, w, 4)
        return patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


class Average(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


def lucidrains_mixer() -> nn.Sequential:
    blocks = [
        nn.Sequential(LucidrainsHalf(24, 16, 12, True), LucidrainsHalf(24, 24, 48, False))
        for _ in range(2)
    ]
    ends = [nn.LayerNorm(24), Average(), nn.Linear(24, 5)]
    model = nn.Sequential(Patches(), nn.Linear(48, 24), *blocks, *ends)
    randomize(model)
    return model.eval()


@torch.inference_mode()
def test_lucidrains_weights_give_the_logits_of_such_a_network(tmp_path: Path) -> None:
    theirs = lucidrains_mixer()
    torch.save(theirs.state_dict(), tmp_path / "mixer.pt")
    images = torch.randn(2, 3, 16, 16)
    ours = mlpmixer.load(tmp_path / "mixer.pt")
    assert ours.options["layer_norm_epsilon"] == 1e-5
    assert close(ours(images), theirs(images))


@pytest.mark.parametrize("layout", layout_names())
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_a_round_trip_gives_the_same_bits(layout: str, suffix: str, tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=16, num_classes=5, depth=2)
    randomize(model)
    file = tmp_path / f"mixer{suffix}"
    export(model, file, layout)
    again = mlpmixer.load(file)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_the_authors_file_comes_back_to_the_same_bits(tmp_path: Path) -> None:
    export(mlpmixer.load(FLAX), tmp_path / "again.npz", "google")
    before, after = np.load(FLAX), np.load(tmp_path / "again.npz")
    assert set(before) == set(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_presets_are_recognised_by_their_shape(tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=32, num_classes=3)
    export(model, tmp_path / "nano.safetensors", "timm")
    again = mlpmixer.load(tmp_path / "nano.safetensors")
    rebuilt = mlpmixer.create_model(again.name, **again.options)
    assert rebuilt.options == again.options


@pytest.mark.parametrize("layout", layout_names())
def test_the_21843_logits_of_imagenet_21k_are_taken_as_sigmoids(
    layout: str, tmp_path: Path
) -> None:
    shape = {"image_size": 8, "patch_size": 4, "width": 4, "depth": 1}
    mlp = {"tokens_mlp_dim": 2, "channels_mlp_dim": 2}
    for classes, loss in ((21_843, "sigmoid"), (1000, "softmax")):
        model = mlpmixer.create_model("mixer", num_classes=classes, **shape, **mlp)
        export(model, tmp_path / "weights.npz", layout)
        read = mlpmixer.load(tmp_path / "weights.npz")
        assert read.loss == loss
        assert ("sigmoid" in str(read.facts)) == (loss == "sigmoid")


def test_a_layout_is_added_by_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """timm's layout with another name for the stem, in a folder that counts as theirs."""
    (tmp_path / "renamed.py").write_text(RENAMED)
    monkeypatch.setattr(layouts, "__path__", [*layouts.__path__, str(tmp_path)])
    assert layout_names() == ["google", "google_older", "lucidrains", "renamed", "timm"]
    model = mlpmixer.create_model("mixer_nano", image_size=16, num_classes=5, depth=2)
    export(model, tmp_path / "mixer.npz", "renamed")
    assert "cut.bias" in np.load(tmp_path / "mixer.npz")
    again = mlpmixer.load(tmp_path / "mixer.npz")
    assert torch.equal(again.state_dict()["norm.weight"], model.state_dict()["norm.weight"])


RENAMED = """
from dataclasses import replace
from mlpmixer.weights.layouts.timm import LAYOUT as timm

def entries(config):
    for one in timm.entries(config):
        yield replace(one, theirs=one.theirs.replace("stem.proj", "cut"))

LAYOUT = replace(
    timm,
    matches=lambda names: "cut.weight" in names,
    infer=lambda shapes: timm.infer({n.replace("cut", "stem.proj"): s for n, s in shapes.items()}),
    entries=entries,
)
"""


def test_the_layouts_are_known_to_the_help_without_pytorch() -> None:
    code = (
        "import sys\n"
        "from mlpmixer.cli.main import main\n"
        "try:\n"
        "    main(['convert', '--help'])\n"
        "finally:\n"
        "    assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"mlpmixer|{'|'.join(layout_names())}" in shown.stdout


Spoil = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "head/bias"}, "lacks.*'head/bias'"),
        (lambda t: {k: v for k, v in t.items() if "_0/channel_mixing/Dense_0" not in k}, "lacks"),
        (lambda t: {**t, "extra/kernel": np.zeros(3, np.float32)}, "'extra/kernel'"),
        (lambda t: {**t, "stem/bias": np.zeros(3, np.float32)}, r"'stem/bias'.*\(3,\).*\(24,\)"),
        (lambda t: {**t, "stem/kernel": np.zeros(3, np.float32)}, "fits no Mixer"),
        (lambda t: {**t, "head/bias": np.full(10, np.nan, np.float32)}, "'head/bias'.*not finite"),
        (lambda t: {**t, "head/bias": np.array(["a"] * 10)}, "holds no numbers"),
    ],
)
def test_a_spoilt_npz_is_refused_by_the_tensors_name(
    spoil: Spoil, message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "spoilt.npz", **spoil(dict(np.load(FLAX))))
    with pytest.raises(MixerError, match=message):
        mlpmixer.load(tmp_path / "spoilt.npz")


def test_tokens_of_no_square_image_are_named(tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=(16, 32), patch_size=4, depth=1)
    export(model, tmp_path / "wide.safetensors", "timm")
    with pytest.raises(MixerError, match="32 tokens"):
        mlpmixer.load(tmp_path / "wide.safetensors")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_a_truncated_file_is_named(suffix: str, tmp_path: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=16, depth=1)
    file = tmp_path / f"short{suffix}"
    export(model, file, "timm")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(MixerError, match="short"):
        mlpmixer.load(file)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "evil.pth").write_bytes(f"cposix\nsystem\n(S'touch {trap}'\ntR.".encode())
    with pytest.raises(MixerError, match=r"evil\.pth"):
        mlpmixer.load(tmp_path / "evil.pth")
    assert not trap.exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("stem/kernel.npy", b"\0" * 50_000_000)
    with pytest.raises(MixerError, match="not unpacked"):
        mlpmixer.load(tmp_path / "bomb.npz")


def test_a_compressed_npz_is_read_as_well(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", **dict(np.load(FLAX)))
    one, other = mlpmixer.load(FLAX), mlpmixer.load(tmp_path / "small.npz")
    assert all(
        torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items()
    )


def test_another_familys_checkpoint_is_no_mixer(tmp_path: Path) -> None:
    vit = mlpmixer.create_model("vit_nano").net
    save_file(dict(vit.state_dict()), tmp_path / "vit.safetensors")
    with pytest.raises(UsageError, match="no Mixer of a known layout"):
        mlpmixer.load(tmp_path / "vit.safetensors")


def test_reading_maps_the_file_and_never_writes_to_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    file.write_bytes(FLAX.read_bytes())
    model = mlpmixer.load(file)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert file.read_bytes() == FLAX.read_bytes()


def test_only_mixers_are_exported_and_only_in_known_forms(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Mixer"):
        export(mlpmixer.create_model("vit_nano"), tmp_path / "x.npz", "google")
    nano = mlpmixer.create_model("mixer_nano")
    with pytest.raises(UsageError, match="google"):
        export(nano, tmp_path / "x.npz", "googel")
    with pytest.raises(UsageError, match=r"\.npz"):
        export(nano, tmp_path / "x.onnx", "timm")


def test_timms_form_has_the_stem_as_a_convolution(tmp_path: Path) -> None:
    export(mlpmixer.create_model("mixer_nano"), tmp_path / "nano.safetensors", "timm")
    tensors = load_file(tmp_path / "nano.safetensors")
    assert tensors["stem.proj.weight"].shape == (128, 3, 4, 4)
