"""What a file for another runtime says of the model in it: all that a graph does not hold."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlpmixer.errors import MixerError
from mlpmixer.formatting import printable
from mlpmixer.models.interface import Loss
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.models.traced import InputType

KEY = "mlpmixer"
"""Under which name files of every format hold the description, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """The model behind a graph, how its input is made, and what its outputs mean."""

    name: str
    """What `create_model` knows the model by."""
    options: Mapping[str, Any]
    """With which options."""
    image_size: tuple[int, int]
    """Height and width of the input in pixels."""
    in_channels: int = 3
    num_classes: int
    num_features: int
    patch_grid: tuple[int, int] | None = None
    class_names: tuple[str, ...] | None = None
    """The name of each logit."""
    loss: Loss = "softmax"
    """softmax or sigmoid: what turns logits into probabilities."""
    preprocessing: Mapping[str, Any]
    """How a picture becomes the input; see `Preprocessing`."""
    format: str
    precision: str = "float32"
    """Of the weights: float32, float16 or int8."""
    input: InputType = "float32"
    """float32: (B, 3, H, W) in [-1, 1]; uint8: (B, 3, H, W) from 0 to 255, normalised inside."""
    source: str = ""
    """Name of the file or run that was exported, without its folders."""
    weights: str = ""
    """Digest of the exported model and its weights."""
    mlpmixer: str = ""
    """Version of this package that wrote the file."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was saved beside the weights."""

    def to_json(self) -> str:
        """Return everything as JSON, in ASCII."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, path: str) -> "Description":
        """Read what `to_json` wrote; `path` is for messages.

        Raises:
            MixerError: it is damaged.
        """
        try:
            said = json.loads(text)
            lists = isinstance(said["class_names"], list | None)
            tables = isinstance(said["options"], dict) and isinstance(said.get("facts", {}), dict)
            for name in ("image_size", "patch_grid", "class_names"):
                if said[name] is not None:
                    said[name] = tuple(said[name])
            if said["class_names"] is not None:
                said["class_names"] = tuple(map(printable, said["class_names"]))
            description = cls(**said)
            description.as_preprocessing()
            height, width = description.image_size
            counts = (height, width, description.in_channels, description.num_classes)
            names = description.class_names
            sound = lists and tables and all(type(one) is int and one > 0 for one in counts)
            sound &= description.loss in ("softmax", "sigmoid")
            sound &= description.input in ("float32", "uint8")
            sound &= names is None or len(names) == description.num_classes
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise MixerError(f"{path} is damaged: its description is ({error}).") from error
        if not sound:
            raise MixerError(f"{path} is damaged: its description contradicts itself.")
        return description

    def as_preprocessing(self) -> Preprocessing:
        """Return how a picture becomes the input."""
        said = self.preprocessing
        return Preprocessing(
            image_size=self.image_size,
            crop_share=said["crop_share"],
            resampling=said["resampling"],
            sixteen_bit=said["sixteen_bit"],
        )
