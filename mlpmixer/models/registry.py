"""Models by name: the Mixers of `presets` and the rivals of `comparators`."""

from dataclasses import fields
from fnmatch import fnmatch
from typing import Any

from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer, MixerConfig
from mlpmixer.models.presets import PAPER_MIXERS, SMALL_MIXERS, is_mixer, mixer_config
from mlpmixer.models.shuffle import Kind, ShuffledInput


def create_model(
    name: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    input_shuffle: Kind | None = None,
    shuffle_patch_size: int | None = None,
    shuffle_seed: int = 0,
    **overrides: Any,
) -> ImageModel:
    """Build a freshly initialised model.

    Args:
        name: one of `list_models()`, "mixer" for a shape of your own, or "timm:NAME" for any model
            of timm.
        image_size: side or (height, width) in pixels; None takes the model's own.
        num_classes: number of logits; None takes the model's own.
        input_shuffle: shuffle the pixels of each image by a fixed permutation: "patches" or
            "pixels"; see `mlpmixer.models.shuffle`, also for the patch size and the seed.
        shuffle_patch_size: side of the patches that are moved, in pixels.
        shuffle_seed: of the permutation.
        overrides: single fields of `MixerConfig` (or keyword arguments of timm's model).

    Returns:
        The model, in training mode, on the CPU (or where `torch.device` as a context says).

    Raises:
        UsageError: the name or a field is unknown, or the numbers do not fit each other.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None:
        size = (size[0], size[1])  # a list, when it comes from JSON
    model = _create(name, size, num_classes, overrides)
    if input_shuffle is None:
        if shuffle_patch_size is not None:
            raise UsageError(
                f"the shuffle patch size {shuffle_patch_size} belongs to an input shuffle: give "
                "--input-shuffle patches too, or leave it out."
            )
        return model
    return ShuffledInput(model, input_shuffle, shuffle_patch_size, shuffle_seed)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that match a shell `pattern`, Mixers first."""
    from mlpmixer.models.comparators import COMPARATORS

    names = [*PAPER_MIXERS, *SMALL_MIXERS, *COMPARATORS]
    return [name for name in names if fnmatch(name, pattern)]


def _create(
    name: str, size: tuple[int, int] | None, num_classes: int | None, overrides: dict[str, Any]
) -> ImageModel:
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
