"""Names of Mixers and their shapes.

The seven of the paper's table 1, and a family for images of 8 to 64 pixels with which its
experiments can be run on one small machine.
"""

from typing import Any

from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import MixerConfig

PAPER_IMAGE_SIZE = 224
SMALL_IMAGE_SIZE = 32
SMALL_GRID = 8
"""The small family cuts an image of any size into about 8x8 patches unless told otherwise."""


def _paper(depth: int, patch_size: int, width: int) -> dict[str, Any]:
    return {
        "depth": depth,
        "patch_size": patch_size,
        "width": width,
        "tokens_mlp_dim": width // 2,
        "channels_mlp_dim": width * 4,
    }


def _small(depth: int, width: int) -> dict[str, Any]:
    # The exact GELU: on CPUs PyTorch computes it much faster than the tanh form.
    return {
        "depth": depth,
        "width": width,
        "tokens_mlp_dim": width // 2,
        "channels_mlp_dim": width * 4,
        "gelu": "erf",
    }


PAPER_MIXERS: dict[str, dict[str, Any]] = {
    "mixer_s32": _paper(depth=8, patch_size=32, width=512),
    "mixer_s16": _paper(depth=8, patch_size=16, width=512),
    "mixer_b32": _paper(depth=12, patch_size=32, width=768),
    "mixer_b16": _paper(depth=12, patch_size=16, width=768),
    "mixer_l32": _paper(depth=24, patch_size=32, width=1024),
    "mixer_l16": _paper(depth=24, patch_size=16, width=1024),
    "mixer_h14": _paper(depth=32, patch_size=14, width=1280),
}

SMALL_MIXERS: dict[str, dict[str, Any]] = {
    "mixer_nano": _small(depth=8, width=128),
    "mixer_micro": _small(depth=8, width=192),
    "mixer_mini": _small(depth=12, width=256),
}

CUSTOM = "mixer"
"""A Mixer of any shape, which has to be given in full; so foreign checkpoints are called."""
_SHAPE = ("patch_size", "width", "depth", "tokens_mlp_dim", "channels_mlp_dim")


def is_mixer(name: str) -> bool:
    """Tell whether `mixer_config` knows the name."""
    return name == CUSTOM or name in PAPER_MIXERS or name in SMALL_MIXERS


def preset_of(config: MixerConfig) -> str:
    """Return the name that a configuration belongs to, whatever its image size, head and GELU."""
    for name, shape in {**PAPER_MIXERS, **SMALL_MIXERS}.items():
        wanted = {key: value for key, value in shape.items() if key != "gelu"}
        if all(getattr(config, key) == value for key, value in wanted.items()):
            return name
    return CUSTOM


def config_of(model: ImageModel) -> MixerConfig | None:
    """Return the configuration of a Mixer, by its name and options; None for other models."""
    if model.network is not model or not is_mixer(model.name):
        return None
    options = dict(model.options)
    return mixer_config(
        model.name, options.pop("image_size"), options.pop("num_classes"), **options
    )


def mixer_config(
    name: str, image_size: tuple[int, int] | None, num_classes: int | None, **overrides: Any
) -> MixerConfig:
    """Return the configuration of the preset `name`, with single fields overridden.

    `image_size` and `num_classes` default to 224 pixels and 1000 classes for the paper's models,
    to 32 and 10 for the small ones, whose patch size follows the image size: an eighth of it.
    """
    small = name in SMALL_MIXERS
    side = SMALL_IMAGE_SIZE if small else PAPER_IMAGE_SIZE
    size = image_size or (side, side)
    shape = {**{**PAPER_MIXERS, **SMALL_MIXERS}.get(name, {}), **overrides}
    if small:
        shape.setdefault("patch_size", max(1, round(min(size) / SMALL_GRID)))
    for field in _SHAPE:
        if field not in shape:
            raise UsageError(f"a custom Mixer needs its whole shape; {field} is missing.")
    if num_classes is None:
        num_classes = 10 if small else 1000
    for name in ("input_mean", "input_std"):
        if name in shape:
            shape[name] = tuple(shape[name])  # a list, when it comes from JSON
    return MixerConfig(image_size=size, num_classes=num_classes, **shape)
