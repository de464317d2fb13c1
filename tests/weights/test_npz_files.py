"""NumPy's .npz files: what may stand beside the weights in them, and numbers of other kinds."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import mlpmixer
from mlpmixer.errors import MixerError
from mlpmixer.weights.checkpoint import export

FLAX = Path(__file__).parent.parent / "golden" / "official_mixer_tiny.npz"


def test_counters_beside_the_weights_do_not_keep_them_from_being_read(tmp_path: Path) -> None:
    weights = dict(np.load(FLAX))
    nested = {f"params/{name}": value for name, value in weights.items()}
    np.savez(tmp_path / "trained.npz", step=np.int64(7), flag=np.bool_(True), **nested)
    read, plain = mlpmixer.load(tmp_path / "trained.npz"), mlpmixer.load(FLAX)
    assert torch.equal(read.state_dict()["head.bias"], plain.state_dict()["head.bias"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(10, np.int64), "'head/bias' is of int64, not of real numbers"),
        (np.array([{}] * 10), "'head/bias.npy' holds no numbers"),
        (np.zeros(10, np.complex64), "'head/bias.npy' holds no numbers"),
        (np.zeros(10, np.longdouble), "'head/bias.npy' holds no numbers"),
    ],
)
def test_weights_of_another_kind_are_named(value: np.ndarray, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{**dict(np.load(FLAX)), "head/bias": value})
    with pytest.raises(MixerError, match=message):
        mlpmixer.load(tmp_path / "x.npz")


def test_a_shape_beyond_all_memory_is_damage(tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = (4, 4, 3, 2**62)  # the product, counted in 64 bits, would be 0
    said = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, said)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("stem/kernel.npy", header.getvalue())
    with pytest.raises(MixerError, match=r"x\.npz is damaged: the entry 'stem/kernel\.npy' has"):
        mlpmixer.load(tmp_path / "x.npz")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_are_exported_with_the_same_values(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1).to(dtype)
    export(model, tmp_path / "x.npz", "google")
    again = mlpmixer.load(tmp_path / "x.npz")
    for name, value in model.state_dict().items():
        assert torch.equal(value.float(), again.state_dict()[name])
