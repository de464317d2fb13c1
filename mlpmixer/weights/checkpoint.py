"""Models in files: ours, written and read; every foreign layout, read and written."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlpmixer.errors import UsageError
from mlpmixer.files import replacing
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.presets import config_of
from mlpmixer.weights.class_names import class_names_for
from mlpmixer.weights.layouts import find_layout
from mlpmixer.weights.model_files import HUB_PREFIX, load_folder, load_path
from mlpmixer.weights.npz_files import as_array
from mlpmixer.weights.own_format import plain_state, write_model, write_tensors

_log = logging.getLogger(__name__)


def load(
    source: str | Path,
    *,
    weights: str | None = None,
    class_names: Sequence[str] | str | Path | None = None,
) -> ImageModel:
    """Read a model, whoever wrote it; what it is, is read off the file's content.

    Args:
        source: a file of ours, the authors' .npz, a state dict of timm or lucidrains
            (.safetensors, .pth), also inside a trainer's checkpoint and behind the prefixes of
            wrappers; a run directory, a folder as on the Hugging Face hub, or "hf-hub:user/name"
            for one there. "FILE#plain" says `weights` in the same string.
        weights: which ones, where a checkpoint has several: "averaged" or "plain", or the place
            of one in the file, such as "state_dict_ema". By default the averaged ones where there
            are both, and the logger "mlpmixer" says so.
        class_names: names of the logits, or a file of them (see `class_names.read_class_names`),
            in place of those that came with the weights.

    Returns:
        The model in evaluation mode, in float32 on the CPU, with the GELU, epsilon and input
        normalisation that belong to its weights; it takes images in [-1, 1] all the same.
        `model.class_names` holds the names of its logits (None if unknown), `model.loss` what it
        was trained with, `model.facts` what else was saved beside them, and what was assumed.

    Raises:
        UsageError: there is no such file, it holds no weights of a known layout, or the class
            names do not fit.
        MixerError: it is damaged, asks to run code, or its tensors do not fit a model.
    """
    model = _load(str(source), weights)
    if class_names is not None:
        model.class_names = class_names_for(model.num_classes, class_names)
    return model


def _load(source: str, weights: str | None) -> ImageModel:
    if source.startswith(HUB_PREFIX):
        from mlpmixer.weights.hub import download  # huggingface_hub takes a while to import

        return load_folder(download(source.removeprefix(HUB_PREFIX)), weights)
    path, _, label = source.rpartition("#")
    if path and not Path(source).exists():
        if weights is not None:
            raise UsageError(f"{source!r} and weights={weights!r} both say which weights.")
        return load_path(Path(path), label)
    return load_path(Path(source), weights)


def save(
    model: ImageModel,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    **facts: Any,
) -> None:
    """Write a model to a safetensors file of ours, whole or not at all.

    Args:
        model: a model of `create_model`, also one that is compiled or wrapped for training.
        path: the file.
        class_names: the name of each logit; None keeps those that the model was loaded with.
        facts: anything else worth knowing, as JSON values (the step, the accuracy); none keep
            those that the model was loaded with.

    Raises:
        UsageError: the names are not one for each logit.
        MixerError: the file cannot be written.
    """
    model = _unwrapped(model)
    names = model.class_names if class_names is None else class_names
    write_model(model, path, names, facts or model.facts)


def export(model: ImageModel, path: str | Path, layout: str) -> None:
    """Write a Mixer in a foreign layout, whole or not at all: .npz, .safetensors or .pth.

    What the layout cannot carry, such as another GELU or class names, the logger "mlpmixer" tells.

    Raises:
        UsageError: the model is no Mixer, or layout or kind of file are unknown.
        MixerError: the file cannot be written.
    """
    chosen = find_layout(layout)
    model = _unwrapped(model)
    model.check_layers()
    config = config_of(model)
    if config is None:
        reason = "is no Mixer" if model.network is model else "shuffles its input"
        raise UsageError(f"{model.name} {reason}: {layout} has a layout for plain Mixers alone.")
    path = Path(path)
    tensors = chosen.write(plain_state(model), config)
    if path.suffix == ".npz":
        import numpy as np

        with replacing(path) as temporary:
            arrays = {name: as_array(one) for name, one in tensors.items()}
            np.savez(temporary, **arrays)  # type: ignore[arg-type]  # taken for allow_pickle
    elif path.suffix == ".safetensors":
        write_tensors(tensors, path, {"format": "pt"})
    elif path.suffix in (".pth", ".pt", ".bin"):
        with replacing(path) as temporary:
            torch.save(tensors, temporary)
    else:
        raise UsageError(f"{path} is of an unknown kind: write .npz, .safetensors or .pth.")
    if difference := chosen.differences(model, config):
        _log.warning(f"{path}: the layout {layout} cannot carry {difference}.")


def _unwrapped(model: nn.Module) -> ImageModel:
    """Return the model inside torch.compile's, DataParallel's and the like."""
    inside: object = model
    while not isinstance(inside, ImageModel):
        inside = getattr(inside, "_orig_mod", None) or getattr(inside, "module", None)
        if inside is None:
            raise UsageError(f"{type(model).__name__} is no model of create_model.")
    return inside
