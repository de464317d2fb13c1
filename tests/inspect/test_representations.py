"""How representations move, in models whose layers do something known."""

import numpy as np
import pytest
import torch

import mlpmixer
from mlpmixer.inspect.representations import linear_cka, representations, token_similarity
from mlpmixer.models.mixer import Mixer
from mlpmixer.runtime import Runtime

RUNTIME = Runtime(torch.device("cpu"))


def mixer(depth: int = 3) -> Mixer:
    torch.manual_seed(0)
    shape = {"width": 16, "depth": depth, "tokens_mlp_dim": 8, "channels_mlp_dim": 16}
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=2, **shape)
    assert isinstance(model, Mixer)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def images(count: int, side: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, side, side, generator=generator) * 2 - 1


def test_a_block_that_does_nothing_adds_nothing_and_changes_no_answer() -> None:
    model = mixer()
    with torch.no_grad():
        for layer in (model.blocks[2].mlp_tokens.fc2, model.blocks[2].mlp_channels.fc2):
            layer.weight.zero_()
    found = representations(model, images(20), runtime=RUNTIME, batch_size=6)
    assert found is not None
    assert found.layers == ("stem", "1", "2", "3")
    assert found.images == 20
    for sizes in found.branches.values():
        assert sizes.shape == (3, 20)
        assert (sizes[:2] > 0).all()
        assert (sizes[2] == 0).all()
    assert found.step_similarity is not None
    np.testing.assert_allclose(found.step_similarity[2], 1, rtol=1e-5)
    assert found.alignment is not None
    assert found.alignment[2, 3] == pytest.approx(1)
    assert found.agreement is not None
    assert found.agreement[2] == found.agreement[3] == 1.0
    assert found.accuracy is None


def test_the_size_of_a_branch_is_relative_to_what_it_is_added_to() -> None:
    model = mixer(depth=1)
    pictures = images(3)
    found = representations(model, pictures, runtime=RUNTIME)
    assert found is not None
    before = model.stem(pictures)
    block = model.blocks[0]
    mixed = block.mlp_tokens(block.norm1(before).mT).mT
    expected = mixed.flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    np.testing.assert_allclose(
        found.branches["token mixing"][0], expected.detach().numpy(), rtol=1e-5
    )
    assert found.alignment is None  # too few pictures to tell


def test_the_last_layers_answers_are_the_models() -> None:
    model = mixer()
    pictures = images(24)
    labels = model(pictures).argmax(dim=1).tolist()
    half_wrong = labels[:12] + [(one + 1) % 10 for one in labels[12:]]
    classes = [(one, (one + 5) % 10) for one in half_wrong]
    found = representations(model, pictures, classes, runtime=RUNTIME)
    assert found is not None
    assert found.accuracy is not None
    assert found.accuracy[-1] == 0.5


def test_token_similarity_is_the_mean_over_pairs_of_tokens() -> None:
    tokens = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    unit = tokens / tokens.norm(dim=2, keepdim=True)
    pairs = unit @ unit.mT
    expected = [float(one[~torch.eye(5, dtype=torch.bool)].mean()) for one in pairs]
    np.testing.assert_allclose(token_similarity(tokens), expected, rtol=1e-5)


def test_cka_sees_through_rotation_and_finds_nothing_in_noise() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 12))
    rotation, _ = np.linalg.qr(generator.normal(size=(12, 12)))
    noise = generator.normal(size=(60, 200))  # more features than pictures
    similar = linear_cka([features, 3 * features @ rotation + 1, noise])
    assert similar[0, 1] == pytest.approx(1)
    assert abs(similar[0, 2]) < 0.1
    np.testing.assert_allclose(similar, similar.T)


@pytest.mark.parametrize(
    ("name", "unit", "layers", "kinds"),
    [
        ("vit_nano", "block", 7, ["attention", "MLP"]),
        ("bit_nano", "stage", 4, []),
        ("nfnet_nano", "stage", 4, []),
        ("halonet_nano", "stage", 4, []),
        ("timm:test_resnet", "stage", 6, []),
    ],
)
def test_layers_of_every_family_are_found(
    name: str, unit: str, layers: int, kinds: list[str]
) -> None:
    model = mlpmixer.create_model(name, image_size=32).eval()
    found = representations(model, images(2, side=32), runtime=RUNTIME)
    assert found is not None
    assert found.unit == unit
    assert len(found.layers) == layers
    assert list(found.branches) == kinds
    assert np.isfinite(found.token_similarity).all()


def test_layers_behind_a_shuffled_input_are_found() -> None:
    model = mlpmixer.create_model(
        "mixer_nano", image_size=8, patch_size=2, depth=2, input_shuffle="patches"
    )
    found = representations(model, images(3), runtime=RUNTIME)
    assert found is not None
    assert found.layers == ("stem", "1", "2")
    inner = representations(model.network, model.seen(images(3)), runtime=RUNTIME)
    assert inner is not None
    np.testing.assert_array_equal(found.token_similarity, inner.token_similarity)
