"""A whole inspection: from a model to the page about what it has learned."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpmixer.data.options import DataOptions
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.formatting import magnitude
from mlpmixer.inspect.attribution import attribute
from mlpmixer.inspect.examples import (
    ExamplePictures,
    choose_examples,
    picture_files,
    read_data,
    read_files,
)
from mlpmixer.inspect.representations import representations
from mlpmixer.inspect.token_mixing import token_mixing
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import count_parameters
from mlpmixer.models.weight_images import stem_filters
from mlpmixer.report.inspection_contents import (
    Attribution,
    Floats,
    InspectionContents,
    Representations,
    TokenMixings,
)
from mlpmixer.report.inspection_page import write_inspection
from mlpmixer.run.console import Console
from mlpmixer.runtime import Runtime
from mlpmixer.weights.checkpoint import load
from mlpmixer.weights.model_files import HUB_PREFIX

_REMEDY = " Give --data SOURCE for pictures to follow, or --picture FILE for one of your own."


@dataclass(frozen=True)
class Inspected:
    """Where the page is, and what is in it."""

    page: Path
    figures: tuple[str, ...]
    contents: InspectionContents

    def to_json(self) -> dict[str, Any]:
        """Return the page's place and the main numbers as plain values."""
        contents = self.contents
        mixing = () if contents.token_mixing is None else contents.token_mixing.blocks
        return {
            "page": self.page,
            "figures": self.figures,
            "model": contents.model,
            "data": contents.data,
            "left_out": contents.notes,
            "token_mixing": [
                {
                    "units": len(block.inputs),
                    "median_frequency": float(np.median(block.frequency)),
                    "median_reach": float(np.median(block.reach)),
                    "pairs_beyond_chance": block.beyond_chance,
                }
                for block in mixing
            ],
            "pictures": [
                {
                    "name": one.name,
                    "true": one.true,
                    "predicted": one.predicted,
                    "probability": one.probability,
                    "occlusion": one.occlusion,
                    "gradient_input": one.gradient_input,
                }
                for one in contents.attributions
            ],
        }


def inspect_model(
    source: str,
    *,
    pictures: Sequence[Path],
    data: str | None,
    images: int,
    out: Path | None,
    options: DataOptions,
    runtime: Runtime,
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
        runtime: where to run, and in which precision.
        console: takes progress and messages.

    Raises:
        UsageError: there is no such model, data or device, or `out` is a file.
        MixerError: the model is damaged, a picture cannot be read or a file not be written.
    """
    if images < 1:
        raise UsageError(f"--images {images} must be at least 1.")
    folder = out or _default_folder(source)
    _check_folder(folder)
    files = picture_files(pictures)
    model = load(source).to(runtime.device).eval()
    model.check_layers()
    looking = _Inspection(model, runtime, console)
    if data is not None or files:
        looking.check_colours()
    filters, mixing = looking.stem_filters(), looking.token_mixing()
    spec, found = looking.data(data, images, options)
    shown = read_files(files, model, options) if files else found and looking.examples(found)
    contents = InspectionContents(
        name=Path(source).name or source,
        model=model.name,
        data=spec,
        facts=_facts(model, mixing),
        stem_filters=filters,
        token_mixing=mixing,
        representations=looking.representations(found or shown),
        attributions=looking.attributions(shown),
        notes=looking.notes,
        commands=_commands(source, data, folder),
    )
    with console.progress("drawing") as progress:
        page, figures = write_inspection(folder, contents, progress.update)
    return Inspected(page, tuple(figures), contents)


@dataclass
class _Inspection:
    """One part of the page after the other; a part that is missing leaves a note why."""

    model: ImageModel
    runtime: Runtime
    console: Console
    notes: dict[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = self.model.class_names
        self.class_names = known or tuple(f"class {i}" for i in range(self.model.num_classes))

    def stem_filters(self) -> Floats | None:
        filters = stem_filters(self.model.network)
        if filters is None:
            self.notes["stem"] = "Left out: the first layer has no filters for three colours."
            return None
        shuffled = self.model.options.get("input_shuffle")
        if shuffled is not None:
            self.notes["stem"] = (
                f"This model shuffles the {shuffled} of its input by a fixed permutation. "
                "Weights are drawn for the shuffled picture: neighbours here are not neighbours in "
                "the image."
            )
        return filters.numpy()

    def token_mixing(self) -> TokenMixings | None:
        with self.console.progress("measuring token mixing") as progress:
            found = token_mixing(self.model.network, progress.update)
        if found is None:
            self.notes["token_mixing"] = (
                f"Left out: {self.model.name} has no token-mixing MLPs that are known here."
            )
        return found

    def data(
        self, asked: str | None, count: int, options: DataOptions
    ) -> tuple[str | None, ExamplePictures | None]:
        """Return the data's name and pictures of it; the model's own data may be out of reach."""
        spec = asked or self.model.facts.get("data")
        channels = self.model.in_channels
        if channels != 3:
            self._no_pictures(f"the model takes {channels} colour channels, pictures have 3")
            return None, None
        if spec is None:
            self._no_pictures("the model does not say what it was trained on", _REMEDY)
            return None, None
        try:
            found, names = read_data(spec, self.model, count, options, self.console)
        except MixerError as error:
            if asked is not None:
                raise
            reason = str(error).rstrip(".")
            self._no_pictures(f"the data of the training cannot be opened ({reason})", _REMEDY)
            return None, None
        self.class_names = names or self.class_names
        return Path(spec).name if Path(spec).exists() else spec, found

    def examples(self, found: ExamplePictures) -> ExamplePictures:
        if self.model.num_classes == 0:
            return found
        return choose_examples(self.model, found, self.runtime)

    def representations(self, followed: ExamplePictures | None) -> Representations | None:
        if followed is None:
            return None
        self.notes.pop("representations", None)
        with self.console.progress("following pictures through the layers") as progress:
            found = representations(
                self.model,
                followed.inputs,
                followed.labels,
                runtime=self.runtime,
                on_progress=progress.update,
            )
        if found is None:
            self.notes["representations"] = (
                f"Left out: how the layers of {self.model.name} follow each other is not known."
            )
        return found

    def attributions(self, shown: ExamplePictures | None) -> tuple[Attribution, ...]:
        if shown is None:
            return ()
        self.notes.pop("pictures", None)
        if self.model.num_classes == 0:
            self.notes["pictures"] = "Left out: the model has no head, so it predicts nothing."
            return ()
        with self.console.progress("explaining predictions") as progress:
            return tuple(
                self._attribution(
                    shown.some([index]),
                    lambda share, done=index: progress.update((done + share) / len(shown.inputs)),
                )
                for index in range(len(shown.inputs))
            )

    def _attribution(self, one: ExamplePictures, on_progress: Any) -> Attribution:
        maps = attribute(self.model, one.inputs[0], runtime=self.runtime, on_progress=on_progress)
        return Attribution(
            picture=_pixels(one.inputs[0]),
            name=one.names[0],
            predicted=self.class_names[maps.predicted],
            probability=maps.probability,
            true=None if one.labels is None else self._true(one.labels[0], maps.predicted),
            occlusion=maps.occlusion.numpy(),
            occluded_probability=maps.occluded_probability.numpy(),
            gradient_input=maps.gradient_input.numpy(),
            sensitivity=maps.sensitivity.numpy(),
        )

    def _true(self, classes: Sequence[int], predicted: int) -> str:
        return self.class_names[predicted if predicted in classes else classes[0]]

    def check_colours(self) -> None:
        """Raise UsageError where the model takes no pictures."""
        channels = self.model.in_channels
        if channels != 3:
            raise UsageError(
                f"{self.model.name} takes {channels} colour channels, pictures have 3: "
                "leave --data and --picture out."
            )

    def _no_pictures(self, reason: str, remedy: str = "") -> None:
        self.notes["representations"] = self.notes["pictures"] = f"Left out: {reason}.{remedy}"


def _default_folder(source: str) -> Path:
    """Return where the page of a model goes: into a run directory, else beside the user."""
    path = Path(source)
    if path.is_dir():
        return path / "inspect"
    return Path(f"inspect-{path.stem if path.is_file() else path.name.removeprefix(HUB_PREFIX)}")


def _check_folder(folder: Path) -> None:
    """Raise UsageError where nothing can be written below `folder`, before any work is done."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is a file. Choose another folder with --out.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {nearest}. Choose another folder with --out.")


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    """Return a picture (3, H, W) in [-1, 1] as (H, W, 3) of 0 to 255."""
    levels = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.permute(1, 2, 0).numpy()
    return pixels


def _facts(model: ImageModel, mixing: TokenMixings | None) -> dict[str, str]:
    height, width = model.image_size
    facts = {
        "Parameters": magnitude(count_parameters(model)),
        "Picture": f"{height}×{width}",
    }
    if mixing is not None:
        units, rows, columns = mixing.blocks[0].inputs.shape
        facts["Patches"] = f"{rows}×{columns}"
        facts["Blocks"] = f"{len(mixing.blocks)}"
        facts["Hidden units a block"] = f"{units:,}"
    return facts


def _commands(source: str, data: str | None, folder: Path) -> dict[str, str]:
    command = f"mixer inspect {shlex.quote(source)}"
    of_data = f" --data {shlex.quote(data)}" if data else ""
    return {
        "Make this page again": f"{command}{of_data} --out {shlex.quote(str(folder))}",
        "Explain a picture of your own": f"{command} --picture photo.jpg",
        "Read the data of a mosaic in Python": 'numpy.load("FILE.npz")',
    }
