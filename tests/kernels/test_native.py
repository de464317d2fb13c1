"""The native kernels against the model in float64: every level of this machine, every precision."""

import math
import multiprocessing
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from random_mixers import BOUNDS, exact, images_for, packed, random_mixer, share
from torch import Tensor

from mlpmixer.errors import UsageError
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import (
    LEVEL_VARIABLE,
    PRECISIONS,
    MixerShape,
    NativeMixer,
    Precision,
    gelu,
    levels_here,
    tiles_missing,
)
from mlpmixer.kernels.self_check import choose_level, self_check, training_self_check
from mlpmixer.models.mixer import Mixer

pytestmark = pytest.mark.skipif(library().functions is None, reason=library().reason)
KINDS = [
    (level, precision)
    for precision in PRECISIONS
    for level in (levels_here(precision, emulated=True) if library().functions else [])
]
NANS_OF_ALL_BITS = [
    struct.unpack("f", bytes(bits))[0] for bits in (b"\xff\xff\xff\x7f", b"\xff" * 4)
]
"""Rounding the bits of these up would carry into their sign, and make them 0."""
every_kind = pytest.mark.parametrize(("level", "precision"), KINDS)


def check(
    mixer: Mixer,
    level: str,
    precision: Precision,
    batch: int = 2,
    threads: int = 1,
    slack: float = 1,
) -> None:
    images = images_for(mixer, batch)
    tokens, logits = exact(mixer, images)
    native = packed(mixer, level, precision)
    assert share(native.tokens(images, threads), tokens) < slack * BOUNDS[precision]
    assert share(native.logits(images, threads), logits) < 2 * slack * BOUNDS[precision]


@every_kind
def test_each_edge_of_the_tiles_is_right(level: str, precision: Precision) -> None:
    for size in range(1, 36):
        mixer = random_mixer(
            seed=size,
            image_size=(size, 1),
            patch_size=1,
            width=16 + size,
            depth=1,
            tokens_mlp_dim=37 - size,
            channels_mlp_dim=2 * size,
            num_classes=size,
            gelu="erf" if size % 2 else "tanh",
        )
        check(mixer, level, precision)


@every_kind
@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": (28, 28), "patch_size": 4, "width": 96, "tokens_mlp_dim": 48},  # 49 tokens
        {"image_size": (26, 30), "patch_size": 2, "width": 33, "tokens_mlp_dim": 20},  # 195 tokens
        {"image_size": (1, 1), "patch_size": 1, "width": 64, "tokens_mlp_dim": 3},  # one token
        {"width": 24, "channels_mlp_dim": 1700, "depth": 1},  # hidden channels in three parts
        {"image_size": (24, 24), "patch_size": 24, "width": 50, "in_channels": 4},
        {"image_size": (60, 60), "patch_size": 2, "width": 32, "tokens_mlp_dim": 8, "depth": 1},
    ],
)
def test_odd_shapes_are_right(level: str, precision: Precision, changes: dict[str, Any]) -> None:
    for gelu_form in ("tanh", "erf"):
        check(random_mixer(**changes, gelu=gelu_form), level, precision, batch=3, threads=2)


@every_kind
def test_weights_as_training_leaves_them_are_right(level: str, precision: Precision) -> None:
    # Some channels and units far larger than the others, and a few tokens that stand out.
    mixer = random_mixer(image_size=(16, 16), width=64, channels_mlp_dim=256)
    with torch.no_grad():
        for block in mixer.blocks:
            block.get_submodule("norm1").weight[::9] *= 6
            block.get_submodule("norm2").weight[::7] *= 6
            block.get_submodule("mlp_channels.fc1").weight[::11] *= 4
            block.get_submodule("mlp_tokens.fc2").weight[::5] *= 4
    check(mixer, level, precision, slack=2)


@every_kind
def test_an_image_does_not_depend_on_batch_or_threads(level: str, precision: Precision) -> None:
    mixer = random_mixer(image_size=(20, 20), width=48)
    native, images = packed(mixer, level, precision), images_for(mixer, 7)
    alone = torch.cat([native.logits(image[None], threads=1) for image in images])
    for batch in (1, 2, 3, 7):
        for threads in (1, 2, 3, 5):
            assert torch.equal(native.logits(images[:batch], threads), alone[:batch])
    assert native.logits(images[:0]).shape == (0, 5)
    assert native.tokens(images[:0]).shape == (0, 100, 48)


@every_kind
def test_an_image_without_numbers_disturbs_no_other(level: str, precision: Precision) -> None:
    mixer = random_mixer(image_size=(14, 14), width=70, tokens_mlp_dim=62)  # 49 tokens
    native, images = packed(mixer, level, precision), images_for(mixer, 3)
    expected = native.logits(images, threads=1)
    spoilt = images.clone()
    spoilt[1] = float("nan")
    native.logits(spoilt[1:2].expand(4, -1, -1, -1), threads=1)  # what is left in its memory
    assert torch.equal(native.logits(spoilt, threads=1)[::2], expected[::2])


@every_kind
@pytest.mark.parametrize("value", [math.inf, *NANS_OF_ALL_BITS])
def test_weights_that_are_no_numbers_give_no_numbers(
    level: str, precision: Precision, value: float
) -> None:
    changes = {"image_size": (14, 14), "width": 70, "channels_mlp_dim": 1100, "depth": 1}
    for name, weight in random_mixer(**changes).named_parameters():
        for position in {0, weight.numel() // 2, weight.numel() - 1}:
            mixer = random_mixer(**changes)
            with torch.no_grad():
                mixer.get_parameter(name).view(-1)[position] = value
            logits = packed(mixer, level, precision).logits(images_for(mixer, 2))
            spoilt = logits.isfinite().logical_not()
            of_one_class = name.startswith("head")
            assert (spoilt.any(1) if of_one_class else spoilt).all(), (name, position)


@every_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, *NANS_OF_ALL_BITS])
def test_a_pixel_that_is_no_number_gives_no_numbers(
    level: str, precision: Precision, value: float
) -> None:
    mixer = random_mixer(image_size=(14, 14), width=70)
    native = packed(mixer, level, precision)
    for row, column in ((0, 0), (5, 8), (13, 13)):
        images = images_for(mixer, 3)
        expected = native.logits(images, threads=1)
        images[1, 1, row, column] = value
        found = native.logits(images, threads=1)
        assert found[1].isnan().all()
        assert not native.tokens(images)[1].isfinite().any()
        assert torch.equal(found[::2], expected[::2])


@pytest.mark.parametrize("level", [level for level, precision in KINDS if precision == "int8"])
def test_steps_of_int8_are_summed_over_any_number_of_inputs(level: str) -> None:
    mixer = random_mixer(image_size=(160, 160), patch_size=160, width=16, depth=1)
    images = torch.ones(1, 3, 160, 160)
    images[..., 0, 0] = -1
    with torch.no_grad():  # products that all have one sign: their sum is as large as it can be
        stem = mixer.get_parameter("stem.proj.weight")
        stem[:8], stem[8:] = 1 / stem[0].numel(), 0
    found = packed(mixer, level, "int8").tokens(images)
    assert share(found, exact(mixer, images)[0]) < BOUNDS["int8"]


def test_any_strides_and_alignment_give_the_same() -> None:
    level, precision = KINDS[0]
    mixer = random_mixer()
    native, images = packed(mixer, level, precision), images_for(mixer, 4)
    expected = native.logits(images)
    wide = torch.zeros(4, 3, 6, 17)
    wide[..., 1::2] = images
    buffer = torch.zeros(images.nbytes + 1, dtype=torch.uint8)
    buffer[1:] = images.contiguous().view(-1).view(torch.uint8)
    off_by_a_byte = torch.frombuffer(memoryview(buffer.numpy())[1:], dtype=torch.float32)
    for same in (
        images.contiguous(memory_format=torch.channels_last),
        wide[..., 1::2],
        images.flip(0).flip(0).transpose(2, 3).contiguous().transpose(2, 3),
        off_by_a_byte.view(images.shape),
        images.double(),
    ):
        assert torch.equal(native.logits(same), expected)
    repeated = native.logits(images[:1].expand(3, -1, -1, -1))
    assert torch.equal(repeated, expected[:1].expand(3, -1))


def test_a_model_without_a_head_gives_pooled_tokens() -> None:
    mixer = random_mixer(num_classes=0)
    images = images_for(mixer, 2)
    pooled = packed(mixer, *KINDS[0]).logits(images)
    assert share(pooled, exact(mixer, images)[0].mean(1)) < 1e-5


def test_two_models_and_several_callers_at_once_do_not_disturb_each_other() -> None:
    mixers = [random_mixer(seed=seed, width=32 + 8 * seed) for seed in range(2)]
    natives = [packed(mixer, *KINDS[0]) for mixer in mixers]
    images = images_for(mixers[0], 5)
    expected = [native.logits(images, threads=1) for native in natives]
    with ThreadPoolExecutor(6) as callers:
        calls = [callers.submit(natives[i % 2].logits, images, 2) for i in range(180)]
    for i, call in enumerate(calls):
        assert torch.equal(call.result(), expected[i % 2])


def child(native: NativeMixer, images: Tensor, answer: Any) -> None:
    torch.set_num_threads(1)
    answer.put(native.logits(images, threads=2).tolist())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads is what is meant
def test_a_forked_process_goes_on_with_threads_of_its_own() -> None:
    mixer = random_mixer()
    native, images = packed(mixer, *KINDS[0]), images_for(mixer, 3)
    expected = native.logits(images, threads=2)
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    process = context.Process(target=child, args=(native, images, answer))
    process.start()
    found = torch.tensor(answer.get(timeout=60))
    process.join()
    assert torch.equal(found, expected)
    assert torch.equal(native.logits(images, threads=2), expected)


@every_kind
@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_gelu_is_within_its_bound(level: str, precision: Precision, form: Any) -> None:
    values = torch.cat([torch.linspace(-12, 12, 200_001), torch.tensor([-1e4, 1e4, 0.0])])
    exact_form = "tanh" if form == "tanh" else "none"
    expected = torch.nn.functional.gelu(values.double(), approximate=exact_form)
    error = (gelu(values, form, precision, level).double() - expected).abs()
    bound = 2e-6 if precision == "float32" else 1e-4
    assert (error / values.abs().clamp(min=1)).max() < bound


def test_a_level_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, "portable")
    assert {levels_here(precision)[0] for precision in PRECISIONS} == {"portable"}
    monkeypatch.setenv(LEVEL_VARIABLE, "sse9")
    with pytest.raises(UsageError, match="sse9 is no level: use one of portable"):
        levels_here("float32")


def test_an_emulated_level_is_taken_by_its_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in PRECISIONS:
        assert not any("emulated" in level for level in levels_here(precision))
    monkeypatch.setenv(LEVEL_VARIABLE, "amx_emulated")
    assert choose_level("bfloat16") == choose_level("int8") == "amx_emulated"
    assert choose_level("float32") != "amx_emulated"


def test_tiles_run_or_the_reason_is_said() -> None:
    assert (tiles_missing() == "") == ("amx" in levels_here("int8"))
    assert ("amx" in levels_here("int8")) == ("amx" in levels_here("bfloat16"))


def test_every_level_passes_its_own_check() -> None:
    for precision in PRECISIONS:
        assert choose_level(precision) == levels_here(precision)[0]


@pytest.mark.parametrize(
    ("size", "limit"),
    [("width", 768), ("tokens_mlp_dim", 768), ("channels_mlp_dim", 768), ("num_tokens", 392)],
)
def test_a_level_that_is_wrong_in_what_is_long_alone_fails_its_check(
    size: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(NativeMixer):
        def __init__(
            self, shape: MixerShape, weights: list[Tensor], precision: Precision, level: str
        ) -> None:
            spoilt = precision == "bfloat16" and getattr(shape, size) > limit
            weights = [weight * (2 if spoilt else 1) for weight in weights]
            super().__init__(shape, weights, precision, level)

    monkeypatch.setattr("mlpmixer.kernels.self_check.NativeMixer", Wrong)
    assert self_check.__wrapped__("portable", "bfloat16") > 0.05


@pytest.mark.skipif(len(KINDS) < 6, reason="this processor runs the portable level alone")
def test_a_level_that_fails_its_check_is_reported_and_the_next_one_taken() -> None:
    with pytest.warns(RuntimeWarning, match="wrong on this processor in float32"):
        assert choose_level("float32", tolerance=0.0) == "portable"


def test_a_level_checks_itself_whatever_type_and_device_are_the_defaults() -> None:
    checks: list[Any] = [self_check.__wrapped__, training_self_check.__wrapped__]
    wanted = [check("portable", "bfloat16") for check in checks]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            assert [check("portable", "bfloat16") for check in checks] == wanted
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_trace_is_refused() -> None:
    mixer = random_mixer()
    native = packed(mixer, *KINDS[0])
    with pytest.raises(UsageError, match="trace the model that was optimized"):
        torch.jit.trace(native.logits, images_for(mixer, 2))


def test_weights_of_another_shape_are_refused() -> None:
    mixer = random_mixer()
    shape = MixerShape(
        **{name: getattr(mixer.config, name) for name in MixerShape.__dataclass_fields__}
    )
    with pytest.raises(UsageError, match="expected"):
        NativeMixer(shape, list(mixer.parameters())[1:], *reversed(KINDS[0]))
