"""Models in files: ours, written and read; every foreign layout, read and written."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mlpmixer.errors import MixerError, UsageError, unknown_name
from mlpmixer.files import replacing
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.registry import create_model
from mlpmixer.weights.google import GOOGLE, GOOGLE_OLDER
from mlpmixer.weights.layout import Layout, check_finite
from mlpmixer.weights.lucidrains import LUCIDRAINS
from mlpmixer.weights.own_format import FORMAT, HUB_CONFIG, MODEL_FILE, write_tensors
from mlpmixer.weights.tensor_files import TensorFile, open_tensors
from mlpmixer.weights.timm import TIMM

HUB_PREFIX = "hf-hub:"

LAYOUTS: dict[str, Layout] = {
    "google": GOOGLE,
    "google_older": GOOGLE_OLDER,
    "timm": TIMM,
    "lucidrains": LUCIDRAINS,
}
"""The foreign layouts, by name; `export` takes these."""


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
        return load_folder(download(str(source).removeprefix(HUB_PREFIX)))
    path = Path(source)
    if path.is_dir():
        return load_folder(path)
    return _load_file(path)


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
    model.save(path, class_names, **facts)


def export(model: ImageModel, path: str | Path, layout: str) -> None:
    """Write a Mixer in a foreign layout, whole or not at all: .npz, .safetensors or .pth.

    Raises:
        UsageError: the model is no Mixer, or layout or kind of file are unknown.
        MixerError: the file cannot be written.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if not isinstance(model, Mixer):
        raise UsageError(f"{model.name} is no Mixer: {layout} has a layout for Mixers alone.")
    path = Path(path)
    tensors = LAYOUTS[layout].write(model)
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


def _load_file(path: Path) -> ImageModel:
    file = open_tensors(path)
    if FORMAT in file.metadata:
        return _load_ours(file)
    for layout in LAYOUTS.values():
        if layout.matches(file.shapes):
            return layout.read(file.shapes, file.read, str(path)).eval()
    some = ", ".join(sorted(file.shapes)[:3])
    raise UsageError(
        f"{path} holds no Mixer of a known layout (ours, {', '.join(LAYOUTS)}); "
        f"its tensors are called {some}, …"
    )


def _load_ours(file: TensorFile) -> ImageModel:
    try:
        description = json.loads(file.metadata[FORMAT])
        with torch.device("meta"):
            model = create_model(description["name"], **description["options"])
        class_names, facts = description["class_names"], description["facts"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise MixerError(f"{file.path} is damaged: its description lacks {error}.") from error
    expected = model.state_dict()
    for name in [*expected, *file.shapes]:
        if name not in file.shapes:
            raise MixerError(f"{file.path} lacks the tensor {name!r}.")
        if name not in expected:
            raise MixerError(f"{file.path} has a tensor {name!r} that its model does not have.")
        if tuple(expected[name].shape) != file.shapes[name]:
            raise MixerError(
                f"{file.path}: the tensor {name!r} has the shape {file.shapes[name]}, "
                f"expected {tuple(expected[name].shape)}."
            )
    tensors = {name: file.read(name) for name in expected}
    check_finite(tensors, str(file.path))
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if any(buffer.is_meta for buffer in model.buffers()):
        _fill_buffers(model, create_model(description["name"], **description["options"]))
    model.class_names = None if class_names is None else tuple(class_names)
    model.facts = facts
    return model.eval()


def _fill_buffers(model: ImageModel, built: ImageModel) -> None:
    """Give a model the buffers that files leave out, which follow from its shape."""
    for path, module in built.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            mine = model.get_submodule(path)
            if mine.get_buffer(name).is_meta:
                mine.register_buffer(name, buffer, persistent=False)


def load_folder(folder: Path) -> ImageModel:
    """Load a run directory, or a folder as on the hub: weights beside a config.json."""
    file = folder / MODEL_FILE
    if not file.exists():
        raise UsageError(f"no model in the folder {str(folder)!r}: it has no {MODEL_FILE}.")
    model = _load_file(file)
    config = folder / HUB_CONFIG
    if isinstance(model, Mixer) and config.exists():
        _apply_hub_config(model, config)
    return model


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


def download(name: str, **options: Any) -> Path:
    """Return the local folder with the files of a model on the Hugging Face hub.

    Args:
        name: "user/name".
        options: of `huggingface_hub.snapshot_download`: revision, token, cache_dir.

    Raises:
        UsageError: the name is of the wrong form.
        MixerError: there is no such model, or the network fails.
    """
    from huggingface_hub import snapshot_download

    from mlpmixer.models.hub import hub_failures

    with hub_failures(f"cannot get {name} from the Hugging Face hub"):
        return Path(snapshot_download(name, allow_patterns=[MODEL_FILE, HUB_CONFIG], **options))
