"""What an answer rests on: one gradient for a picture, not one pass for each of its patches."""

from typing import Annotated

from pydantic import BaseModel, Field

from mlpmixer.data.augment import normalize
from mlpmixer.data.picture import evaluation_box, evaluation_crop, from_bytes, least_side
from mlpmixer.deploy.predictor import Predictor
from mlpmixer.inspect.attribution import attribute_by_gradient


class Explanation(BaseModel):
    """The patches that an answer rests on."""

    label: str
    index: int
    map: list[list[float]]
    """Row by row, the estimated log-odds of the class that are lost without each patch."""
    box: Annotated[list[float], Field(min_length=4, max_length=4)]
    """The part of the picture that the patches cover: left, top, right, bottom in [0, 1]."""


def can_explain(predictor: Predictor) -> bool:
    """Tell whether the model has gradients; what was exported has none."""
    return any(one.requires_grad for one in predictor.model.model.parameters())


def explain(predictor: Predictor, content: bytes, name: str) -> Explanation:
    """Return what the answer for an encoded picture rests on.

    Raises UnreadableImage.
    """
    network, seen = predictor.model.model, predictor.model.preprocessing
    side = least_side(seen)
    picture = from_bytes(content, name, at_least=side, sixteen_bit=seen.sixteen_bit)
    pixels = evaluation_crop(picture, seen)
    maps = attribute_by_gradient(network, normalize(pixels[None])[0], runtime=predictor.runtime)
    left, top, right, bottom = evaluation_box(picture.size, seen)
    width, height = picture.size
    return Explanation(
        label=predictor.class_names[maps.predicted],
        index=maps.predicted,
        map=maps.gradient_input.tolist(),
        box=[left / width, top / height, right / width, bottom / height],
    )
