"""A whole inspection: from a model to the page about what it has learned."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpmixer.compute import choose_device
from mlpmixer.data.augment import prepare
from mlpmixer.data.batches import Images
from mlpmixer.data.dataset import Dataset, Split, Subset
from mlpmixer.data.decode import decode
from mlpmixer.data.loader import open_images
from mlpmixer.data.options import DataOptions
from mlpmixer.data.sources import open_source
from mlpmixer.data.splits import FileSplit
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.evaluation.job import images_for
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.shuffle import ShuffledInput
from mlpmixer.models.weight_images import stem_filters
from mlpmixer.randomness import generator
from mlpmixer.report.console import Console
from mlpmixer.report.formatting import magnitude
from mlpmixer.report.inspect_page import write_inspection
from mlpmixer.report.inspection_contents import Attribution, InspectionContents, TokenMixings
from mlpmixer.studies.attribution import attribute
from mlpmixer.studies.layers import network
from mlpmixer.studies.learned_weights import token_mixing
from mlpmixer.studies.representations import representations
from mlpmixer.weights.checkpoint import HUB_PREFIX, load

EXAMPLES = 6
"""Pictures that are explained where none is given: half of them wrong ones if there are."""


@dataclass(frozen=True)
class Inspected:
    """Where the page is, and what is in it."""

    page: Path
    figures: tuple[str, ...]
    contents: InspectionContents

    def to_json(self) -> dict[str, Any]:
        """Return the page's place and the main numbers as plain values."""
        contents = self.contents
        record: dict[str, Any] = {
            "page": self.page,
            "model": contents.model,
            "data": contents.data,
            "figures": self.figures,
            "notes": contents.notes,
        }
        if contents.token_mixing is not None:
            record["blocks"] = [
                {
                    "units": len(block.inputs),
                    "median_frequency": float(np.median(block.frequency)),
                    "median_reach": float(np.median(block.reach)),
                    "pairs_beyond_chance": block.beyond_chance,
                }
                for block in contents.token_mixing.blocks
            ]
        record["pictures"] = [
            {
                "name": one.name,
                "true": one.true,
                "predicted": one.predicted,
                "probability": one.probability,
                "occlusion": one.occlusion,
                "gradient_input": one.gradient_input,
            }
            for one in contents.attributions
        ]
        return record


@dataclass(frozen=True)
class _Pictures:
    """Pictures ready for the model, and what is known of them."""

    inputs: Tensor
    """(N, 3, H, W) in [-1, 1]."""
    names: tuple[str, ...]
    labels: tuple[int, ...] | None
    """Indices of logits."""


def inspect_model(
    source: str,
    *,
    pictures: Sequence[Path],
    data: str | None,
    images: int,
    out: Path | None,
    options: DataOptions,
    device: str,
    console: Console,
) -> Inspected:
    """Look into a model, and write a page about it.

    Args:
        source: what `load` takes.
        pictures: files to explain the predictions for; if none, pictures of the data are chosen.
        data: pictures to follow through the layers; None takes what the model was trained on.
        images: how many of them.
        out: the page's folder; None takes RUN/inspect for a run directory, else inspect-NAME.
        options: how images are read.
        device: where to run.
        console: takes progress and messages.

    Raises:
        UsageError: there is no such model, data or device, or `out` is a file.
        MixerError: the model is damaged, a picture cannot be read or a file not be written.
    """
    if images < 1:
        raise UsageError(f"--images {images} must be at least 1.")
    folder = out or default_folder(source)
    check_folder(folder)
    given = [_file_split(path) for path in pictures]
    where = choose_device(device)
    model = load(source).to(where).eval()
    notes: dict[str, str] = {}
    inner, _ = network(model)
    mixing = None
    if isinstance(inner, Mixer):
        with console.progress("measuring token mixing") as progress:
            mixing = token_mixing(inner, progress.update)
    else:
        notes["token_mixing"] = f"{model.name} is no Mixer: it has no token-mixing MLPs."
    filters = stem_filters(inner)
    if filters is None:
        notes["stem"] = "Left out: the first layer does not look at three colours by filters."
    if isinstance(model, ShuffledInput):
        notes["stem"] = (
            f"The model shuffles the {model.kind} of its input by a fixed permutation: the weights "
            "are drawn as it sees pictures, so neighbours here are not neighbours there."
        )
    spec, found, class_names = _data(model, data, images, options, notes, console)
    if given:
        shown = _join([_read(split, model, options) for split in given])
    else:
        shown = found and _choose_examples(model, found)
    followed = found or shown
    contents = InspectionContents(
        name=Path(source).name or source,
        model=model.name,
        data=spec,
        facts=_facts(model, mixing),
        stem_filters=None if filters is None else filters.numpy(),
        token_mixing=mixing,
        representations=_follow(model, followed, notes, console),
        attributions=_explain(model, shown, class_names, notes, console),
        notes=notes,
        commands=_commands(source, spec),
    )
    with console.progress("drawing") as progress:
        page, figures = write_inspection(folder, contents, progress.update)
    return Inspected(page, tuple(figures), contents)


def default_folder(source: str) -> Path:
    """Return where the page of a model goes: into a run directory, else beside the user."""
    path = Path(source)
    if path.is_dir() and not source.startswith(HUB_PREFIX):
        return path / "inspect"
    name = path.name.removeprefix(HUB_PREFIX)
    return Path(f"inspect-{name.removesuffix(path.suffix) if path.is_file() else name}")


def check_folder(folder: Path) -> None:
    """Raise UsageError where files cannot be written below `folder`, before any work is done."""
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is a file. Choose another folder with --out.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {nearest}. Choose another folder with --out.")


def _file_split(path: Path) -> Split:
    """Return a picture as a split of one; raises where it cannot be read."""
    if not path.is_file():
        raise UsageError(f"--picture {path}: there is no such file.")
    split = FileSplit(path.parent, [path.name], [0])
    decode(split, 0)
    return split


def _data(
    model: ImageModel,
    data: str | None,
    count: int,
    options: DataOptions,
    notes: dict[str, str],
    console: Console,
) -> tuple[str | None, _Pictures | None, tuple[str, ...]]:
    """Return the data's name, pictures of it, and the names of the logits."""
    spec = data or model.facts.get("data")
    names = model.class_names or tuple(f"class {index}" for index in range(model.num_classes))
    if spec is None:
        notes["representations"] = notes["pictures"] = (
            "Left out: the model does not say what it was trained on. Give --data SOURCE for "
            "pictures to follow, or --picture FILE for one of your own."
        )
        return None, None, names
    try:
        dataset = open_source(spec)
        split, labelled, class_names = _split_for(model, dataset, names, console)
        chosen = _some(split, count)
        with console.progress("reading pictures") as progress:
            stored = open_images(chosen, model.image_size, options, None, progress.update)
        return spec, _prepared(stored, chosen, model, labelled), class_names
    except MixerError as error:
        if data is not None:
            raise
        notes["representations"] = notes["pictures"] = (
            f"Left out: the data of the training cannot be opened ({str(error).rstrip('.')}). Give "
            "--data SOURCE for pictures to follow, or --picture FILE for one of your own."
        )
        return None, None, names


def _split_for(
    model: ImageModel, dataset: Dataset, names: tuple[str, ...], console: Console
) -> tuple[Split, bool, tuple[str, ...]]:
    """Return pictures that the model has not seen, whether their labels are its logits, and names."""
    try:
        _, split = images_for(model, dataset, None)
    except UsageError as error:
        console.warning(f"{error} Its labels are left aside.")
        order = [name for name in ("test", "validation", "train") if name in dataset.splits]
        return dataset.splits[order[0]], False, names
    return split, True, model.class_names or dataset.class_names


def _some(split: Split, count: int) -> Split:
    """Return a split with some of the pictures, drawn without replacement, always the same."""
    order = torch.randperm(len(split), generator=generator(0, "inspect"))[:count]
    return Subset(split, np.sort(order.numpy()))


def _read(split: Split, model: ImageModel, options: DataOptions) -> _Pictures:
    return _prepared(open_images(split, model.image_size, options), split, model, labelled=False)


def _prepared(stored: Images, split: Split, model: ImageModel, labelled: bool) -> _Pictures:
    inputs, names, labels = [], [], []
    for batch in stored.evaluation_batches(64):
        inputs.append(prepare(batch.images, model.image_size, batch.aspect_ratios))
        names += [split.name(int(index)) for index in batch.indices]
        labels += batch.labels.tolist()
    return _Pictures(torch.cat(inputs), tuple(names), tuple(labels) if labelled else None)


def _join(parts: Sequence[_Pictures]) -> _Pictures:
    names = tuple(name for part in parts for name in part.names)
    return _Pictures(torch.cat([part.inputs for part in parts]), names, None)


@torch.inference_mode()
def _choose_examples(model: ImageModel, found: _Pictures) -> _Pictures:
    """Return the wrong predictions that the model is surest of, and right ones of several classes."""
    device = next(model.parameters()).device
    answers = [model(batch.to(device)).softmax(dim=1).max(dim=1) for batch in found.inputs.split(64)]
    sure = torch.cat([answer.values for answer in answers]).cpu()
    predicted = torch.cat([answer.indices for answer in answers]).cpu()
    wrong: list[int] = []
    if found.labels is not None:
        misses = torch.nonzero(predicted != torch.tensor(found.labels)).flatten()
        wrong = misses[sure[misses].argsort(descending=True)][: EXAMPLES // 2].tolist()
    first_of_class = {int(answer): index for index, answer in reversed(list(enumerate(predicted)))}
    rest = [index for index in sorted(first_of_class.values()) if index not in wrong]
    rest = [i for i in rest if found.labels is None or predicted[i] == found.labels[i]]
    chosen = rest[: EXAMPLES - len(wrong)] + wrong
    labels = None if found.labels is None else tuple(found.labels[index] for index in chosen)
    return _Pictures(found.inputs[chosen], tuple(found.names[index] for index in chosen), labels)


def _follow(
    model: ImageModel, followed: _Pictures | None, notes: dict[str, str], console: Console
) -> Any:
    if followed is None:
        return None
    with console.progress("following pictures through the layers") as progress:
        found = representations(
            model, followed.inputs, followed.labels, on_progress=progress.update
        )
    notes.pop("representations", None)
    if found is None:
        notes["representations"] = f"Left out: the layers of {model.name} are of an unknown form."
    return found


def _explain(
    model: ImageModel,
    shown: _Pictures | None,
    class_names: Sequence[str],
    notes: dict[str, str],
    console: Console,
) -> tuple[Attribution, ...]:
    if shown is None:
        return ()
    if model.num_classes == 0:
        notes["pictures"] = "Left out: the model has no head, so it predicts nothing."
        return ()
    notes.pop("pictures", None)
    found = []
    with console.progress("explaining predictions") as progress:
        for index, image in enumerate(shown.inputs):

            def report(share: float, before: int = index) -> None:
                progress.update((before + share) / len(shown.inputs))

            maps = attribute(model, image, on_progress=report)
            label = None if shown.labels is None else class_names[shown.labels[index]]
            found.append(
                Attribution(
                    picture=_pixels(image),
                    name=shown.names[index],
                    predicted=class_names[maps.predicted],
                    probability=maps.probability,
                    true=label,
                    occlusion=maps.occlusion.numpy(),
                    occluded_probability=maps.occluded_probability.numpy(),
                    gradient_input=maps.gradient_input.numpy(),
                    sensitivity=maps.sensitivity.numpy(),
                )
            )
    return tuple(found)


def _pixels(image: Tensor) -> Any:
    """Return a picture (3, H, W) in [-1, 1] as (H, W, 3) of 0 to 255."""
    scaled = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(1, 2, 0).cpu().numpy()


def _facts(model: ImageModel, mixing: TokenMixings | None) -> dict[str, str]:
    height, width = model.image_size
    facts = {
        "Parameters": magnitude(sum(parameter.numel() for parameter in model.parameters())),
        "Picture": f"{height}×{width}",
    }
    if mixing is not None:
        units, rows, columns = mixing.blocks[0].inputs.shape
        facts |= {
            "Patches": f"{rows}×{columns}",
            "Blocks": f"{len(mixing.blocks)}",
            "Units a block": f"{units:,}",
        }
    return facts


def _commands(source: str, spec: str | None) -> dict[str, str]:
    where = shlex.quote(source)
    commands = {
        "Make this page again": f"mixer inspect {where}" + (f" --data {shlex.quote(spec)}" if spec else ""),
        "Explain a picture of your own": f"mixer inspect {where} --picture photo.jpg",
        "Use the data": 'numpy.load("token_mixing_block_01.npz")["inputs"]  # (units, rows, columns)',
    }
    return commands
