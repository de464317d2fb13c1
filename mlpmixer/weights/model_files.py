"""Reading a model from a file or a folder; what it is, is read off its content."""

import json
from dataclasses import replace
from pathlib import Path

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer
from mlpmixer.weights.layouts import find_layout, layout_names
from mlpmixer.weights.own_format import FORMAT, MODEL_FILE, read_model
from mlpmixer.weights.tensor_files import open_tensors

HUB_PREFIX = "hf-hub:"
"""What the name of a repository of the Hugging Face hub begins with."""
HUB_CONFIG = "config.json"
"""What lies beside a model's file in a repository of the Hugging Face hub."""
IMAGENET_21K_CLASSES = 21_843
"""Logits of the authors' ImageNet-21k weights, which were trained with a sigmoid loss."""


def load_file(path: Path, hub_config: Path | None = None) -> ImageModel:
    """Read a file of ours or of a foreign layout; see `mlpmixer.load`.

    `hub_config`, if there is such a file, says more about the weights of a foreign layout.
    """
    file = open_tensors(path)
    if FORMAT in file.metadata:
        return read_model(file)
    for name in layout_names():
        layout = find_layout(name)
        if layout.matches(file.shapes):
            model = layout.read(file.shapes, file.read, str(path)).eval()
            _assume(model)
            if hub_config is not None and hub_config.exists():
                _apply_hub_config(model, hub_config)
            return model
    some = ", ".join(sorted(file.shapes)[:3])
    raise UsageError(
        f"{path} holds no Mixer of a known layout (ours, {', '.join(layout_names())}); "
        f"its tensors are called {some}, …"
    )


def load_folder(folder: Path) -> ImageModel:
    """Read a run directory, or a folder as on the hub: weights beside a config.json."""
    file = folder / MODEL_FILE
    if not file.exists():
        raise UsageError(f"no model in the folder {str(folder)!r}: it has no {MODEL_FILE}.")
    return load_file(file, folder / HUB_CONFIG)


def _assume(model: Mixer) -> None:
    """Set what foreign files do not say, and note it among the facts."""
    if model.num_classes == IMAGENET_21K_CLASSES:
        model.loss = "sigmoid"
        reason = f"its {IMAGENET_21K_CLASSES:,} logits are those of the authors' ImageNet-21k"
        model.facts = {**model.facts, "assumed": {"loss": f"sigmoid: {reason}"}}


def _apply_hub_config(model: Mixer, path: Path) -> None:
    """Take over what timm's config.json says of input normalisation and class names."""
    try:
        content = json.loads(path.read_text())
        pretrained = content.get("pretrained_cfg", content)
        mean = tuple(map(float, pretrained.get("mean", (0.5,))))
        std = tuple(map(float, pretrained.get("std", (0.5,))))
        names = pretrained.get("label_names")
    except (ValueError, TypeError, AttributeError) as error:
        raise MixerError(f"{path} is damaged: {error}.") from error
    if min(std) <= 0:
        raise MixerError(f"{path}: the standard deviation {std} must be positive.")
    usual = set(mean) == {0.5} and set(std) == {0.5}
    if not usual:
        model.config = replace(model.config, input_mean=mean, input_std=std)
    if names is not None and len(names) == model.num_classes:
        model.class_names = tuple(names)
