"""A served model's card: what it is, and how well it did when it was trained."""

import json
import math
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from mlpmixer.deploy.predictor import Predictor
from mlpmixer.deploy.server.explain import can_explain
from mlpmixer.deploy.server.weight_pictures import drawn_blocks
from mlpmixer.run.directory import RunDirectory
from mlpmixer.weights.hub import public_name


class ModelDescription(BaseModel):
    """A model that is served."""

    name: str
    architecture: str
    image_size: Annotated[list[int], Field(min_length=2, max_length=2)]
    """Height and width in pixels."""
    classes: int
    named: bool
    """Whether the classes have names; else their numbers stand for them."""
    labels: list[str]
    explains: bool
    """Whether it can tell what an answer rests on."""
    weight_pictures: int
    """How many of its first blocks can be shown: /v1/models/NAME/weights/0 and on."""
    trained_on: str | None
    accuracy: float | None
    """On the images that its training held back, in [0, 1]."""
    calibration_error: float | None
    """On the same images, in [0, 1]."""
    images: int | None
    """How many these were."""


def describe(name: str, source: str, predictor: Predictor) -> ModelDescription:
    """Return the description of a model that was loaded from `source`."""
    model = predictor.model
    data = model.facts.get("data")
    measured = _measured(source)
    images = measured.get("images")
    return ModelDescription(
        name=name,
        architecture=model.name,
        image_size=list(model.image_size),
        classes=model.num_classes,
        named=model.class_names is not None,
        labels=list(predictor.class_names),
        explains=can_explain(predictor),
        weight_pictures=drawn_blocks(predictor),
        trained_on=None if data is None else public_name(str(data)),
        accuracy=measured.get("top1"),
        calibration_error=measured.get("expected_calibration_error"),
        images=None if images is None else int(images),
    )


def _measured(source: str) -> dict[str, float]:
    """Return what a run directory's evaluation.json says; nothing where there is none."""
    file = RunDirectory(Path(source)).evaluation
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}  # a model file, or a run that was stopped before its evaluation
    if not isinstance(found, dict):
        return {}  # nor is this one of ours
    wanted = ("top1", "expected_calibration_error", "images")
    return {key: found[key] for key in wanted if _is_number(found.get(key))}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
