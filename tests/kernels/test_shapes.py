"""Shapes as they come: the native kernels on random ones against the model in float64.

$MLPMIXER_FUZZ_EXAMPLES asks for more of them, other ones each time (`make fuzz`).
"""

import os
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_mixers import BOUNDS, exact, images_for, packed, random_mixer

from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import PRECISIONS, Precision, levels_here

pytestmark = pytest.mark.skipif(library().functions is None, reason=library().reason)
EXAMPLES = int(os.environ.get("MLPMIXER_FUZZ_EXAMPLES", "0"))
FUZZ = settings(
    max_examples=EXAMPLES or 25,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
KINDS = [
    (level, precision)
    for precision in PRECISIONS
    for level in (levels_here(precision, emulated=True) if library().functions else [])
]
SLACK = 2
"""Times the bounds of the named shapes: chance finds less even weights than those."""
FEW_CHANNELS, LARGE_EPSILON = 16, 0.1
"""A LayerNorm of fewer channels may divide by nearly nothing and enlarge what was rounded without a
limit, so that it has a larger epsilon."""
GRIDS = st.sampled_from([(1, 1), (7, 7), (13, 15), (14, 14), (4, 4), (17, 1), (3, 11)]) | st.tuples(
    st.integers(1, 9), st.integers(1, 9)
)
NEAR_TILES = st.sampled_from([1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129])


@st.composite
def mixers(draw: st.DrawFn) -> dict[str, Any]:
    rows, columns = draw(GRIDS)
    patch = draw(st.integers(1, 4))
    width = draw(NEAR_TILES | st.integers(1, 150))
    return {
        "image_size": (rows * patch, columns * patch),
        "patch_size": patch,
        "in_channels": draw(st.integers(1, 4)),
        "width": width,
        "layer_norm_epsilon": LARGE_EPSILON if width < FEW_CHANNELS else 1e-6,
        "depth": draw(st.integers(1, 2)),
        "tokens_mlp_dim": draw(NEAR_TILES | st.integers(1, 100)),
        "channels_mlp_dim": draw(NEAR_TILES | st.integers(1, 200) | st.sampled_from([768, 1537])),
        "num_classes": draw(st.integers(1, 70)),
        "gelu": draw(st.sampled_from(["tanh", "erf"])),
        "seed": draw(st.integers(0, 1000)),
    }


@FUZZ
@given(
    kind=st.sampled_from(KINDS or [("", "float32")]),
    changes=mixers(),
    batch=st.integers(1, 5),
    threads=st.integers(1, 3),
)
def test_random_shapes_are_right(
    kind: tuple[str, Precision], changes: dict[str, Any], batch: int, threads: int
) -> None:
    level, precision = kind
    mixer = random_mixer(**changes)
    images = images_for(mixer, batch, seed=changes["seed"])
    tokens, logits = exact(mixer, images)
    native = packed(mixer, level, precision)
    found = native.tokens(images, threads), native.logits(images, threads)
    assert all(torch.isfinite(one).all() for one in found)
    # A value may be nearly nothing; what it is the sum of is not.
    *_, shift, weight, bias = (weight.detach().double() for weight in mixer.parameters())
    for one, expected, size in (
        (found[0], tokens, (tokens - shift).abs() + shift.abs()),
        (found[1], logits, tokens.abs().mean(1) @ weight.abs().T + bias.abs()),
    ):
        assert (one.double() - expected).abs().max() / size.max() < SLACK * BOUNDS[precision]
