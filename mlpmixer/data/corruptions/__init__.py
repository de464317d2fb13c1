"""Corruptions of test images in five severities, after ImageNet-C.

Hendrycks and Dietterich, https://arxiv.org/abs/1903.12261, section 4 and appendix B. The strengths
are those of the authors' programs for images of 32, 64 and 224 pixels
(https://github.com/hendrycks/robustness). The computation is this package's own: accuracies are
close to those on the published files and not equal to them. Of the benchmark's fifteen kinds, four
are left out: frost takes photos; glass, snow and elastic follow no short rule.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlpmixer.data.corruptions import blur, digital, noise, weather
from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.randomness import generator

SEVERITIES = (1, 2, 3, 4, 5)
SIZES = (32, 64, 224)
"""Shorter sides in pixels that there are strengths for."""
ALL = "all"
"""Stands for every corruption."""

Strengths = tuple[object, object, object, object, object]
"""One a severity; what each means, the corruption knows."""


class Corruption(NamedTuple):
    """A kind of damage."""

    title: str
    group: str
    """noise, blur, weather or digital."""
    apply: Callable[..., Tensor]
    """From images (B, 3, H, W) float32 in [0, 1], a strength and a generator for each image to
    images of that shape, whose values may leave [0, 1]."""
    strengths: Mapping[int, Strengths]
    """By SIZES, of each severity."""


def _zooms(count: int, step: float) -> tuple[float, ...]:
    return tuple(1 + step * n for n in range(count))


_SMALL_ZOOMS: Strengths = (
    *(_zooms(6, 0.01), _zooms(11, 0.01), _zooms(16, 0.01)),
    *(_zooms(21, 0.01), _zooms(26, 0.01)),
)
_DIM: Strengths = (0.4, 0.3, 0.2, 0.1, 0.05)
_BRIGHT: Strengths = (0.1, 0.2, 0.3, 0.4, 0.5)

CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(
        "Gaussian noise",
        "noise",
        noise.gaussian,
        {
            32: (0.04, 0.06, 0.08, 0.09, 0.10),
            64: (0.04, 0.08, 0.12, 0.15, 0.18),
            224: (0.08, 0.12, 0.18, 0.26, 0.38),
        },
    ),
    "shot_noise": Corruption(
        "shot noise",
        "noise",
        noise.shot,
        {
            32: (500.0, 250.0, 100.0, 75.0, 50.0),
            64: (250.0, 100.0, 50.0, 30.0, 15.0),
            224: (60.0, 25.0, 12.0, 5.0, 3.0),
        },
    ),
    "impulse_noise": Corruption(
        "impulse noise",
        "noise",
        noise.impulse,
        {
            32: (0.01, 0.02, 0.03, 0.05, 0.07),
            64: (0.01, 0.02, 0.05, 0.08, 0.14),
            224: (0.03, 0.06, 0.09, 0.17, 0.27),
        },
    ),
    "defocus_blur": Corruption(
        "defocus blur",
        "blur",
        blur.defocus,
        {
            32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
            64: ((0.5, 0.6), (1.0, 0.1), (1.5, 0.1), (2.5, 0.01), (3.0, 0.1)),
            224: ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
        },
    ),
    "motion_blur": Corruption(
        "motion blur",
        "blur",
        blur.motion,
        {
            32: ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
            64: ((10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)),
            224: ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
        },
    ),
    "zoom_blur": Corruption(
        "zoom blur",
        "blur",
        blur.zoom,
        {
            32: _SMALL_ZOOMS,
            64: _SMALL_ZOOMS,
            224: (
                *(_zooms(11, 0.01), _zooms(16, 0.01), _zooms(11, 0.02)),
                *(_zooms(13, 0.02), _zooms(11, 0.03)),
            ),
        },
    ),
    "fog": Corruption(
        "fog",
        "weather",
        weather.fog,
        {
            32: ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
            64: ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)),
            224: ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        },
    ),
    "brightness": Corruption(
        "brightness",
        "weather",
        weather.brightness,
        {32: (0.05, 0.1, 0.15, 0.2, 0.3), 64: _BRIGHT, 224: _BRIGHT},
    ),
    "contrast": Corruption(
        "contrast",
        "digital",
        digital.contrast,
        {32: (0.75, 0.5, 0.4, 0.3, 0.15), 64: _DIM, 224: _DIM},
    ),
    "pixelate": Corruption(
        "pixelation",
        "digital",
        digital.pixelate,
        {
            32: (0.95, 0.9, 0.85, 0.75, 0.65),
            64: (0.9, 0.8, 0.7, 0.6, 0.5),
            224: (0.6, 0.5, 0.4, 0.3, 0.25),
        },
    ),
    "jpeg": Corruption(
        "JPEG",
        "digital",
        digital.jpeg,
        {32: (80, 65, 58, 50, 40), 64: (65, 58, 50, 40, 25), 224: (25, 18, 15, 10, 7)},
    ),
}
"""By the name on the command line."""


def find_corruptions(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of corruptions, in the order of CORRUPTIONS; ALL stands for every one.

    Raises:
        UsageError: one is unknown, or there is none.
    """
    for name in names:
        if name != ALL and name not in CORRUPTIONS:
            raise unknown_name("corruption", name, (ALL, *CORRUPTIONS))
    if not names:
        raise UsageError(
            f"no corruption is named: give {ALL}, or some of {', '.join(CORRUPTIONS)}."
        )
    return tuple(name for name in CORRUPTIONS if ALL in names or name in names)


def nearest_size(image_size: tuple[int, int]) -> int:
    """Return for which of SIZES the strengths for images of (H, W) pixels were made."""
    shorter = min(image_size)
    return min(SIZES, key=lambda size: max(size, shorter) / min(size, shorter))


def corrupt(images: Tensor, indices: Sequence[int], name: str, severity: int) -> Tensor:
    """Return images (B, 3, H, W) uint8, damaged; those given are not changed.

    What is random follows from the corruption and the image's index in its split alone, so that it
    is the same in any batch, on any rank and for any model, and of the same form in all severities.

    Args:
        images: uint8, on the CPU.
        indices: of the images, (B,).
        name: a key of CORRUPTIONS.
        severity: 1 to 5.
    """
    one = CORRUPTIONS[name]
    strength = one.strengths[nearest_size((images.shape[2], images.shape[3]))][severity - 1]
    chances = [generator(0, "corruption", name, int(index)) for index in indices]
    damaged = one.apply(images.float() / 255, strength, chances)
    return damaged.mul(255).round_().clamp_(0, 255).to(torch.uint8)
