"""Training by the native kernels against PyTorch in float64: outputs and gradients, every level."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mlpmixer.kernels.gelu_fit import derivative_erf, derivative_tanh
from mlpmixer.kernels.library import library
from mlpmixer.kernels.native import LEVEL_VARIABLE, levels_here
from mlpmixer.kernels.self_check import choose_training_level
from mlpmixer.kernels.training import MlpOptions, mixing, trains

pytestmark = pytest.mark.skipif(library().functions is None, reason=library().reason)
LEVELS = levels_here("float32") if library().functions else []
KINDS = [(level, "float32") for level in LEVELS]
KINDS += [
    (level, "bfloat16")
    for level in levels_here("bfloat16", emulated=True)
    if trains(level, "bfloat16")
]
"""Levels and what they multiply. Every machine has the portable form of both."""
every_level = pytest.mark.parametrize("level", LEVELS)
every_kind = pytest.mark.parametrize(("level", "precision"), KINDS)
# images, tokens, channels, hidden: single ones, odd ones, whole tiles, several chunks of rows
SIZES = [(2, 1, 3, 1), (3, 5, 7, 9), (2, 49, 40, 70), (5, 64, 128, 64), (2, 195, 33, 300)]
# largest difference from float64 and norm of all differences, as shares of the values' own
BOUNDS = {"float32": (1e-5, 1e-5), "bfloat16": (0.02, 0.012)}
PLAIN = MlpOptions(
    across="tokens", gelu="erf", layer_norm_epsilon=1e-6, residual=True, level="portable"
)


def reference(values: Tensor, weights: list[Tensor], options: MlpOptions) -> Tensor:
    gain, shift, *layers = weights
    inner = F.layer_norm(values, values.shape[-1:], gain, shift, options.layer_norm_epsilon)
    inner = inner.mT if options.across == "tokens" else inner
    hidden = F.linear(inner, *layers[:2])
    active = F.gelu(hidden, approximate="tanh" if options.gelu == "tanh" else "none")
    inner = F.linear(active, *layers[2:])
    inner = inner.mT if options.across == "tokens" else inner
    return values + inner if options.residual else inner


def random_tensors(size: tuple[int, ...], across: str) -> list[Tensor]:
    """Return tokens, the six weights, and a gradient of the output."""
    images, tokens, channels, hidden = size
    outer = tokens if across == "tokens" else channels
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    weights = [1 + random(channels) / 3, random(channels) / 3]
    weights += [random(hidden, outer) / outer**0.5, random(hidden) / 3]
    weights += [random(outer, hidden) / hidden**0.5, random(outer) / 3]
    table = (images, tokens, channels)
    return [random(*table) * 2 + 1, *weights, random(*table)]


def results(function: Any, tensors: list[Tensor], options: MlpOptions) -> list[Tensor]:
    """Return the output and all gradients."""
    *inputs, upstream = (tensor.clone().requires_grad_() for tensor in tensors)
    output = function(inputs[0], inputs[1:], options)
    return [output, *torch.autograd.grad(output, inputs, upstream)]


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@every_kind
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("across", ["tokens", "channels"])
def test_outputs_and_gradients_are_those_of_float64(
    level: str, precision: Any, size: tuple[int, ...], across: Any, threads: int
) -> None:
    tensors = random_tensors(size, across)
    largest, norm = BOUNDS[precision]
    for gelu, residual in (("tanh", True), ("erf", False)):
        options = replace(
            PLAIN,
            across=across,
            gelu=gelu,
            residual=residual,
            level=level,
            precision=precision,  # type: ignore[arg-type]
        )
        found = results(mixing, tensors, options)
        expected = results(reference, [tensor.double() for tensor in tensors], options)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            difference = one.double() - other
            assert difference.abs().max() <= largest * max(1.0, other.abs().max().item())
            assert difference.norm() <= norm * max(1.0, other.norm().item())


@every_kind
def test_gradients_of_large_weights_are_gathered_over_chunks_of_rows(
    level: str, precision: Any, threads: int
) -> None:
    tensors = random_tensors((10, 200, 260, 520), "channels")  # nine chunks, two groups of them
    options = replace(PLAIN, across="channels", level=level, precision=precision)  # type: ignore[arg-type]
    largest, norm = BOUNDS[precision]
    found = results(mixing, tensors, options)
    expected = results(reference, [tensor.double() for tensor in tensors], options)
    for one, other in zip(found, expected, strict=True):
        difference = one.double() - other
        assert difference.abs().max() <= largest * max(1.0, other.abs().max().item())
        assert difference.norm() <= norm * max(1.0, other.norm().item())


def autocast_reference(values: Tensor, weights: list[Tensor], options: MlpOptions) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return reference(values, weights, options).float()


@pytest.mark.parametrize("across", ["tokens", "channels"])
def test_bfloat16_is_as_near_to_float64_as_autocast(across: Any) -> None:
    tensors = random_tensors((4, 49, 64, 100), across)
    exact = results(
        reference, [tensor.double() for tensor in tensors], replace(PLAIN, across=across)
    )
    cast = results(autocast_reference, tensors, replace(PLAIN, across=across))
    for level in (level for level, precision in KINDS if precision == "bfloat16"):
        options = replace(PLAIN, across=across, level=level, precision="bfloat16")
        found = results(mixing, tensors, options)
        for one, other, expected in zip(found, cast, exact, strict=True):
            own, theirs = ((each.double() - expected).norm() for each in (one, other))
            assert own <= 1.1 * theirs


@pytest.mark.parametrize("across", ["tokens", "channels"])
def test_levels_of_bfloat16_differ_by_the_order_of_sums_alone(across: Any) -> None:
    tensors = random_tensors((3, 49, 40, 70), across)
    levels = [level for level, precision in KINDS if precision == "bfloat16"]
    first, *others = (
        results(mixing, tensors, replace(PLAIN, across=across, level=level, precision="bfloat16"))
        for level in levels
    )
    for other in others:
        for one, expected in zip(other, first, strict=True):
            # A sum on the edge between two bfloat16 may be rounded to either.
            assert (one - expected).norm() <= 2e-3 * expected.norm()


@every_level
@pytest.mark.filterwarnings("ignore:Input #:UserWarning")  # float32, hence the tolerance
@pytest.mark.parametrize("across", ["tokens", "channels"])
def test_gradients_are_differences_of_outputs(level: str, across: Any) -> None:
    tensors = [tensor.requires_grad_() for tensor in random_tensors((2, 4, 5, 3), across)[:-1]]
    options = replace(PLAIN, across=across, level=level)
    assert torch.autograd.gradcheck(
        lambda values, *weights: mixing(values, weights, options).double(),
        tensors,
        eps=3e-3,
        atol=5e-3,
        rtol=5e-3,
    )


@every_kind
def test_the_slope_of_the_gelu_is_right_everywhere(level: str, precision: Any) -> None:
    points = torch.linspace(-8, 8, 4001)
    if precision == "bfloat16":
        points = points.bfloat16().float()  # what is kept of them
    for gelu, derivative in (("erf", derivative_erf), ("tanh", derivative_tanh)):
        bias = points.clone().requires_grad_()
        zeros, ones = torch.zeros(len(points), 1), torch.ones(1, len(points))
        weights = [torch.ones(1), torch.zeros(1), zeros, bias, ones, torch.zeros(1)]
        options = replace(PLAIN, across="channels", gelu=gelu, level=level, precision=precision)  # type: ignore[arg-type]
        mixing(torch.zeros(1, 1, 1), weights, options).backward()
        expected = torch.from_numpy(derivative(points.double().numpy()))
        assert bias.grad is not None
        error = (bias.grad.double() - expected).abs().max()
        assert error < {"float32": 5e-6, "bfloat16": 5e-4}[precision]


@every_kind
def test_the_same_bits_come_out_each_time(level: str, precision: Any, threads: int) -> None:
    for across in ("tokens", "channels"):
        options = replace(PLAIN, across=across, level=level, precision=precision)  # type: ignore[arg-type]
        tensors = random_tensors((9, 50, 48, 40), across)
        runs = [results(mixing, tensors, options) for _ in range(5)]
        for run in runs[1:]:
            assert all(map(torch.equal, run, runs[0]))


@every_kind
def test_threads_change_gradients_of_weights_by_rounding_alone(level: str, precision: Any) -> None:
    before, runs = torch.get_num_threads(), []
    for across in ("tokens", "channels"):
        options = replace(PLAIN, across=across, level=level, precision=precision)  # type: ignore[arg-type]
        tensors = random_tensors((9, 51, 48, 70), across)
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            runs.append(results(mixing, tensors, options))
        torch.set_num_threads(before)
        alone, *shared = runs[-3:]
        for run in shared:
            assert torch.equal(run[0], alone[0])
            assert torch.equal(run[1], alone[1])
            for one, other in zip(run[2:], alone[2:], strict=True):
                assert (one - other).norm() <= 1e-6 * other.norm()


@every_kind
def test_views_and_empty_batches_are_taken(level: str, precision: Any) -> None:
    tensors = random_tensors((4, 6, 8, 5), "tokens")
    options = replace(PLAIN, level=level, precision=precision)
    turned = [tensors[0].mT.contiguous().mT, *(one.clone() for one in tensors[1:])]
    for one, other in zip(
        results(mixing, turned, options), results(mixing, tensors, options), strict=True
    ):
        assert torch.equal(one, other)
    for across in ("tokens", "channels"):
        tensors = random_tensors((4, 6, 8, 5), across)
        empty = [tensors[0][:0], *tensors[1:-1], tensors[-1][:0]]
        output, _, *gradients = results(mixing, empty, replace(options, across=across))  # type: ignore[arg-type]
        assert output.shape == (0, 6, 8)
        assert not any(gradient.any() for gradient in gradients)


def test_weights_of_another_shape_or_type_are_refused() -> None:
    values, *weights, _ = random_tensors((1, 4, 8, 5), "tokens")
    with pytest.raises(ValueError, match=r"expected \[\(8,\), \(8,\), \(5, 4\)"):
        mixing(values, [*weights[:2], weights[2].T, *weights[3:]], PLAIN)
    with pytest.raises(ValueError, match="float32 on the CPU"):
        mixing(values.double(), weights, PLAIN)


def test_a_level_that_trains_wrongly_is_reported_and_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose_training_level() == LEVELS[0]
    if len(LEVELS) > 1:
        with pytest.warns(RuntimeWarning) as reports:
            assert choose_training_level(tolerance=0) == "portable"
        passed_over = zip(reports, LEVELS[:-1], strict=True)
        assert all(f"level {level} are wrong" in str(one.message) for one, level in passed_over)
    in_bfloat16 = [level for level in levels_here("bfloat16") if trains(level, "bfloat16")]
    assert choose_training_level("bfloat16") == in_bfloat16[0]
    monkeypatch.setenv(LEVEL_VARIABLE, "portable")
    assert choose_training_level() == choose_training_level("bfloat16") == "portable"
