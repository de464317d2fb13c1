"""Models in files: ours, written and read; every foreign layout, read and written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mlpmixer.errors import UsageError
from mlpmixer.files import replacing
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.presets import config_of
from mlpmixer.weights.layouts import find_layout
from mlpmixer.weights.model_files import HUB_PREFIX, load_file, load_folder
from mlpmixer.weights.own_format import write_model, write_tensors


def load(source: str | Path) -> ImageModel:
    """Read a model, whoever wrote it; what it is, is read off the file.

    Args:
        source: a file of ours, the authors' .npz, a state dict of timm or lucidrains
            (.safetensors, .pth), a run directory, a folder as on the Hugging Face hub, or
            "hf-hub:user/name" for one there.

    Returns:
        The model in evaluation mode, on the CPU, with the GELU, epsilon and input normalisation
        that belong to its weights; it takes images in [-1, 1] all the same. `model.class_names`
        holds the names of its logits (None if unknown), `model.facts` what was saved beside them.

    Raises:
        UsageError: there is no such file, or it is of no known layout.
        MixerError: it is damaged, or its tensors do not fit a model.
    """
    if str(source).startswith(HUB_PREFIX):
        from mlpmixer.weights.hub import download  # huggingface_hub takes a while to import

        return load_folder(download(str(source).removeprefix(HUB_PREFIX)))
    path = Path(source)
    return load_folder(path) if path.is_dir() else load_file(path)


def save(
    model: ImageModel,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    **facts: Any,
) -> None:
    """Write a model to a safetensors file of ours, whole or not at all.

    Args:
        model: a model of `create_model`.
        path: the file.
        class_names: the name of each logit; None keeps those that the model was loaded with.
        facts: anything else worth knowing, as JSON values (the step, the accuracy); none keep
            those that the model was loaded with.

    Raises:
        MixerError: the file cannot be written.
    """
    names = model.class_names if class_names is None else class_names
    write_model(model, path, names, facts or model.facts)


def export(model: ImageModel, path: str | Path, layout: str) -> None:
    """Write a Mixer in a foreign layout, whole or not at all: .npz, .safetensors or .pth.

    Raises:
        UsageError: the model is no Mixer, or layout or kind of file are unknown.
        MixerError: the file cannot be written.
    """
    chosen = find_layout(layout)
    config = config_of(model)
    if config is None:
        reason = "is no Mixer" if model.network is model else "shuffles its input"
        raise UsageError(f"{model.name} {reason}: {layout} has a layout for plain Mixers alone.")
    path = Path(path)
    tensors = chosen.write(model.state_dict(), config)
    if path.suffix == ".npz":
        import numpy as np

        with replacing(path) as temporary:
            arrays = {name: one.numpy() for name, one in tensors.items()}
            np.savez(temporary, **arrays)  # type: ignore[arg-type]  # taken for allow_pickle
    elif path.suffix == ".safetensors":
        write_tensors(tensors, path, {"format": "pt"})
    elif path.suffix in (".pth", ".pt", ".bin"):
        with replacing(path) as temporary:
            torch.save(tensors, temporary)
    else:
        raise UsageError(f"{path} is of an unknown kind: write .npz, .safetensors or .pth.")
