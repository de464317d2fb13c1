"""Reading a model from a file or a folder; what it is, is read off its content."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import get_args

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.formatting import printable
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.preprocessing import Resampling
from mlpmixer.weights.exported import find_reader
from mlpmixer.weights.layouts import find_layout, layout_names
from mlpmixer.weights.nested_weights import choose, find_networks
from mlpmixer.weights.own_description import FORMAT
from mlpmixer.weights.own_format import MODEL_FILE, read_model
from mlpmixer.weights.tensor_files import open_tensors
from mlpmixer.weights.tensor_table import TensorTable

HUB_PREFIX = "hf-hub:"
"""What the name of a repository of the Hugging Face hub begins with."""
HUB_CONFIG = "config.json"
"""What lies beside a model's file in a repository of the Hugging Face hub."""
TRUSTED = "trusted"
"""What is said behind a "#" to let compiled code in a file run."""
IMAGENET_21K_CLASSES = 21_843
"""Logits of the authors' ImageNet-21k weights, which were trained with a sigmoid loss."""

_log = logging.getLogger(__name__)


def load_path(path: Path, weights: str | None = None) -> ImageModel:
    """Read a model from a file or a folder; see `mlpmixer.load`."""
    return load_folder(path, weights) if path.is_dir() else load_file(path, weights)


def load_file(path: Path, weights: str | None = None, hub_config: Path | None = None) -> ImageModel:
    """Read a file of ours, of a foreign layout, or for another runtime; see `mlpmixer.load`.

    `hub_config`, if there is such a file, says more about the weights of a foreign layout; where
    none is given, a config.json beside them does so if it describes such a model.
    """
    reader = find_reader(path)
    if reader is not None:
        if weights not in (None, TRUSTED):
            raise UsageError(f"{path} is an exported file: there are no weights {weights!r} in it.")
        return reader.read(path, weights == TRUSTED)
    tables = open_tensors(path)
    if not any(table.shapes for table in tables):
        raise UsageError(f"{path} holds no tensors.")
    if FORMAT in tables[0].metadata:
        if weights not in (None, "plain"):
            raise UsageError(f"{path} is a file of ours: there are no weights {weights!r} in it.")
        return read_model(tables[0])
    found = find_networks(tables, {name: find_layout(name) for name in layout_names()})
    if not found:
        raise _unknown(path, tables)
    chosen, remark = choose(found, path, weights)
    model = chosen.layout.read(chosen.table)
    if remark:
        _log.warning(remark)
    _assume(model, path)
    beside = path.parent / HUB_CONFIG
    if hub_config is not None and hub_config.exists():
        _apply_hub_config(model, hub_config)
    elif hub_config is None and _describes(beside, model):
        _apply_hub_config(model, beside)
        taken = (
            "normalisation, crop and class names" if model.class_names else "normalisation and crop"
        )
        _log.warning(f"{path}: {taken} are those of {beside}.")
    return model


def load_folder(folder: Path, weights: str | None = None) -> ImageModel:
    """Read a run directory, or a folder as on the hub: weights beside a config.json.

    Raises:
        UsageError: it holds no model; the message names what could be meant.
        MixerError: a file in it is damaged.
    """
    file = folder / MODEL_FILE
    if not file.exists():
        raise _no_model(folder)
    return load_file(file, weights, folder / HUB_CONFIG)


def _no_model(folder: Path) -> UsageError:
    """Return the error for a folder without a model, with the files in it that may hold one."""
    text = f"no model in the folder {str(folder)!r}: it has no {MODEL_FILE}."
    kinds = ("*.safetensors", "*.npz", "*.pth", "*.pt", "*.bin", "*.ckpt", "*.pth.tar")
    files = sorted(file for kind in kinds for file in folder.glob(kind))
    if (folder.parent / MODEL_FILE).exists():
        return UsageError(f"{text} Give the run's folder, {str(folder.parent)!r}.")
    if files:
        return UsageError(f"{text} Give one of its files, as in {str(files[0])!r}.")
    if (folder / "saved_model.pb").exists():
        return UsageError(f"{text} It is a SavedModel of TensorFlow, which is not read.")
    runs = sorted(file.parent for file in folder.glob(f"*/{MODEL_FILE}"))
    return UsageError(f"{text} Did you mean {str(runs[0])!r}?" if runs else text)


def _unknown(path: Path, tables: list[TensorTable]) -> UsageError:
    names = [name for table in tables for name in table.shapes]
    some = ", ".join(sorted(names)[:3])
    return UsageError(
        f"{path} holds no Mixer of a known layout (ours, {', '.join(layout_names())}); "
        f"its tensors are called {some}, …"
    )


def _assume(model: Mixer, path: Path) -> None:
    """Set what foreign files do not say, and note it among the facts."""
    if model.num_classes == IMAGENET_21K_CLASSES:
        model.loss = "sigmoid"
        reason = f"its {IMAGENET_21K_CLASSES:,} logits are those of the authors' ImageNet-21k"
        model.facts = {**model.facts, "assumed": {"loss": f"sigmoid: {reason}"}}
        _log.warning(f"{path}: taken as trained with a sigmoid loss: {reason}.")


def _describes(path: Path, model: Mixer) -> bool:
    """Tell whether a file is timm's config.json of a network of the model's size."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(content, dict) or "architecture" not in content:
        return False
    sizes = {"num_classes": model.num_classes, "num_features": model.num_features}
    return all(content.get(name, size) == size for name, size in sizes.items())


def _apply_hub_config(model: Mixer, path: Path) -> None:
    """Take over what timm's config.json says of the input, the evaluation crop and class names."""
    try:
        content = json.loads(path.read_text())
        pretrained = content.get("pretrained_cfg", content)
        mean = tuple(map(float, pretrained.get("mean", (0.5,))))
        std = tuple(map(float, pretrained.get("std", (0.5,))))
        crop_share = float(pretrained.get("crop_pct", model.preprocessing.crop_share))
        resampling = pretrained.get("interpolation", model.preprocessing.resampling)
        names = pretrained.get("label_names")
        if names is not None and len(names) == model.num_classes:
            model.class_names = tuple(map(printable, names))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise MixerError(f"{path} is damaged: {error}.") from error
    if resampling not in get_args(Resampling):
        known = model.preprocessing.resampling
        _log.warning(f"{path} asks for {resampling!r} interpolation: {known} is used.")
        resampling = known
    try:
        if set(mean) != {0.5} or set(std) != {0.5}:
            model.config = replace(model.config, input_mean=mean, input_std=std)
        model.preprocessing = replace(
            model.preprocessing, crop_share=crop_share, resampling=resampling
        )
    except UsageError as error:
        raise MixerError(f"{path}: {error}") from error
