"""Models by name: the Mixers of `presets` and the rivals of `comparators`."""

from dataclasses import fields
from fnmatch import fnmatch
from typing import Any

from mlpmixer.errors import unknown_name
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer, MixerConfig
from mlpmixer.models.presets import PAPER_MIXERS, SMALL_MIXERS, is_mixer, mixer_config


def create_model(
    name: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    **overrides: Any,
) -> ImageModel:
    """Build a freshly initialised model.

    Args:
        name: one of `list_models()`, "mixer" for a shape of your own, or "timm:NAME" for any model
            of timm.
        image_size: side or (height, width) in pixels; None takes the model's own.
        num_classes: number of logits; None takes the model's own.
        overrides: single fields of `MixerConfig` (or keyword arguments of timm's model).

    Returns:
        The model, in training mode, on the CPU (or where `torch.device` as a context says).

    Raises:
        UsageError: the name or a field is unknown, or the numbers do not fit each other.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None:
        size = (size[0], size[1])  # a list, when it comes from JSON
    if is_mixer(name):
        known = [field.name for field in fields(MixerConfig)]
        for override in overrides:
            if override not in known:
                raise unknown_name("Mixer option", override, known)
        return Mixer(mixer_config(name, size, num_classes, **overrides), name)
    from mlpmixer.models import comparators  # timm is imported for its models alone

    if not comparators.knows(name):
        raise unknown_name("model", name, list_models(), "`mixer info` lists all.")
    return comparators.create(name, image_size=size, num_classes=num_classes, **overrides)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that match a shell `pattern`, Mixers first."""
    from mlpmixer.models.comparators import COMPARATORS

    names = [*PAPER_MIXERS, *SMALL_MIXERS, *COMPARATORS]
    return [name for name in names if fnmatch(name, pattern)]
