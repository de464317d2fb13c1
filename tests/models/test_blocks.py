"""How blocks run: one output in memory at a time, and through their call alone."""

import weakref
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mlpmixer
from mlpmixer.errors import UsageError
from mlpmixer.inspect.attribution import attribute
from mlpmixer.inspect.representations import representations
from mlpmixer.inspect.token_mixing import token_mixing
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer, MixerBlock
from mlpmixer.models.shuffle import permute_weights
from mlpmixer.runtime import Runtime

RUNTIME = Runtime(torch.device("cpu"))


def module_of(group: list[str]) -> str:
    """Return the innermost module that holds all parameters of a group."""
    owners = [PurePosixPath(*name.split(".")[:-1]) for name in group]
    common = next(
        one
        for one in (owners[0], *owners[0].parents)
        if all(other.is_relative_to(one) for other in owners)
    )
    return ".".join(common.parts)


def most_outputs_alive(model: ImageModel, run: Callable[[], object]) -> int:
    """Return how many blocks' outputs are in memory at once, at most, while `run` runs."""
    outputs: list[weakref.ref[Tensor]] = []
    most = 0

    def note(_: nn.Module, __: object, output: Tensor) -> None:
        nonlocal most
        outputs.append(weakref.ref(output))
        most = max(most, sum(one() is not None for one in outputs))

    blocks = [module_of(group) for group in model.layer_groups()[1:-2]]
    assert len(set(blocks)) == len(blocks) >= 4
    handles = [model.get_submodule(name).register_forward_hook(note) for name in blocks]
    run()
    for handle in handles:
        handle.remove()
    assert len(outputs) == len(blocks)
    return most


@pytest.mark.parametrize(
    ("name", "most"),
    # timm's stages hold what they were given until they are through.
    [("mixer_nano", 2), ("vit_nano", 2), ("bit_nano", 3), ("nfnet_nano", 3), ("halonet_nano", 3)],
)
def test_inference_keeps_one_blocks_output_and_the_next_ones(name: str, most: int) -> None:
    model = mlpmixer.create_model(name).eval()
    images = torch.zeros(2, 3, 32, 32)
    for mode in (torch.inference_mode(), torch.no_grad()):
        with mode:
            assert most_outputs_alive(model, lambda: model(images)) <= most


@pytest.mark.parametrize("chosen", [[], [1], [0, 3]])
@torch.inference_mode()
def test_intermediates_stay_only_where_they_are_asked_for(chosen: list[int]) -> None:
    model = mlpmixer.create_model("mixer_nano").eval()
    images = torch.zeros(2, 3, 32, 32)
    most = most_outputs_alive(model, lambda: model.forward_intermediates(images, chosen))
    assert most == 2 + len(chosen)


class InOne(nn.Module):
    """A block with the parameters of another that calls none of its modules."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name in ("norm1", "mlp_tokens", "norm2", "mlp_channels"):
            self.add_module(name, block.get_submodule(name))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.branch(tokens.mT, "norm1", "mlp_tokens", transposed=True).mT
        return tokens + self.branch(tokens, "norm2", "mlp_channels")

    def branch(self, values: Tensor, norm: str, mlp: str, transposed: bool = False) -> Tensor:
        def parameters(module: str) -> tuple[nn.Parameter, nn.Parameter]:
            return self.get_parameter(f"{module}.weight"), self.get_parameter(f"{module}.bias")

        weight, bias = parameters(norm)
        rows = values.mT if transposed else values
        normal = F.layer_norm(rows, weight.shape, weight, bias, 1e-6)
        hidden = F.gelu(F.linear(normal.mT if transposed else normal, *parameters(f"{mlp}.fc1")))
        return F.linear(hidden, *parameters(f"{mlp}.fc2"))


class Subclass(MixerBlock):
    """A block of the same class tree, with a forward pass of its own."""

    def forward(self, tokens: Tensor) -> Tensor:
        return InOne(self)(tokens)


def subclassed(block: nn.Module) -> nn.Module:
    block.__class__ = Subclass
    return block


def compiled(block: nn.Module) -> nn.Module:
    block.compile(backend="eager")
    return block


def mixer() -> Mixer:
    torch.manual_seed(0)
    shape = {"width": 16, "depth": 2, "tokens_mlp_dim": 8, "channels_mlp_dim": 16}
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, **shape)
    assert isinstance(model, Mixer)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture(params=[InOne, subclassed, compiled])
def pair(request: pytest.FixtureRequest) -> tuple[Mixer, Mixer]:
    """A Mixer and the same one with other blocks."""
    plain, other = mixer(), mixer()
    for index, block in enumerate(other.blocks):
        other.blocks[index] = request.param(block)
    return plain, other


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_other_blocks_give_the_same_values_everywhere(pair: tuple[Mixer, Mixer]) -> None:
    plain, other = pair
    names = ["stem", "blocks.0", "blocks.1.input", "norm"]
    for ours, theirs in zip(
        mlpmixer.capture(other, images(), names).values(),
        mlpmixer.capture(plain, images(), names).values(),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(
        other.forward_intermediates(images(), intermediates_only=True),
        plain.forward_intermediates(images(), intermediates_only=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    for model in (plain, other):
        model.set_grad_checkpointing()
        model(images()).square().sum().backward()
    for ours, theirs in zip(other.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_other_blocks_are_saved_resized_exported_and_permuted_by_their_weights(
    pair: tuple[Mixer, Mixer], tmp_path: Path
) -> None:
    plain, other = pair
    other.save(tmp_path / "model.safetensors")
    expected = plain(images())
    torch.testing.assert_close(mlpmixer.load(tmp_path / "model.safetensors")(images()), expected)
    mlpmixer.export(other, tmp_path / "model.npz", "google")
    again = mlpmixer.load(tmp_path / "model.npz").state_dict()
    assert all(torch.equal(again[name], value) for name, value in plain.state_dict().items())
    larger, permuted = mlpmixer.resize(other, 16), permute_weights(other)
    torch.testing.assert_close(larger.state_dict(), mlpmixer.resize(plain, 16).state_dict())
    torch.testing.assert_close(permuted.state_dict(), permute_weights(plain).state_dict())
    assert other.layer_groups() == plain.layer_groups()


def test_other_blocks_are_inspected_alike(pair: tuple[Mixer, Mixer]) -> None:
    plain, other = pair
    found, expected = (representations(one, images(), runtime=RUNTIME) for one in (other, plain))
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found.token_similarity, expected.token_similarity)
    assert (found.agreement == expected.agreement).all()  # type: ignore[union-attr]
    mixing, as_before = token_mixing(other), token_mixing(plain)
    assert mixing is not None
    assert as_before is not None
    assert (mixing.blocks[1].power == as_before.blocks[1].power).all()
    maps = [attribute(one, images()[0], runtime=RUNTIME).occlusion for one in (other, plain)]
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-4)


def test_a_value_that_a_block_does_not_compute_is_named() -> None:
    model = mixer()
    model.blocks[0] = InOne(model.blocks[0])
    with pytest.raises(UsageError, match=r"'blocks\.0\.mlp_tokens' is not computed"):
        mlpmixer.capture(model, images(), ["blocks.0.mlp_tokens"])
