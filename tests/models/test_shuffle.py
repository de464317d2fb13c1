"""Shuffled inputs, and what they mean to a Mixer."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import mlpmixer
from mlpmixer.errors import UsageError
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.shuffle import ShuffledInput, permute_weights, pixel_order
from mlpmixer.training.loss import classification_loss
from mlpmixer.training.optim import Optimizers
from mlpmixer.training.recipe import LossOptions, OptimizerOptions

SHAPE = {"width": 12, "depth": 2, "tokens_mlp_dim": 10, "channels_mlp_dim": 24, "patch_size": 4}


def mixer() -> Mixer:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer", image_size=(12, 16), num_classes=5, **SHAPE)
    assert isinstance(model, Mixer)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double()


def images(count: int = 6) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 12, 16, generator=random, dtype=torch.float64)


def test_pixels_are_moved_not_changed_and_always_alike() -> None:
    model = ShuffledInput(mixer(), "pixels")
    before = images()
    after = model.seen(before)
    assert not torch.equal(before, after)
    for channel in range(3):
        assert torch.equal(
            before[:, channel].flatten(1).sort()[0], after[:, channel].flatten(1).sort()[0]
        )
    again = ShuffledInput(mixer(), "pixels").seen(before)
    assert torch.equal(after, again)
    assert not torch.equal(after, ShuffledInput(mixer(), "pixels", seed=1).seen(before))


def test_the_channels_of_a_pixel_stay_together() -> None:
    order = pixel_order("pixels", (12, 16), 4, seed=0)
    moved = ShuffledInput(mixer(), "pixels").seen(images())
    assert torch.equal(moved.flatten(2), images().flatten(2)[:, :, order])


def test_patches_move_as_wholes_with_their_pixels_moved_alike() -> None:
    marked = torch.arange(12 * 16).view(1, 1, 12, 16).expand(1, 3, 12, 16)
    moved = ShuffledInput(mixer(), "patches").seen(marked)[0, 0]
    inside, origins = set(), set()
    for top in range(0, 12, 4):
        for left in range(0, 16, 4):
            patch = moved[top : top + 4, left : left + 4].flatten()
            rows, columns = patch // 16, patch % 16
            origins.add((int(rows.min()), int(columns.min())))
            inside.add(tuple(((rows % 4) * 4 + columns % 4).tolist()))
    assert len(origins) == 12  # each patch comes from one place of its own
    assert len(inside) == 1
    assert inside != {tuple(range(16))}


def test_a_mixer_with_permuted_weights_does_not_notice_shuffled_patches() -> None:
    model = mixer()
    shuffled = ShuffledInput(permute_weights(model), "patches")
    torch.testing.assert_close(shuffled(images()), model(images()), rtol=1e-12, atol=1e-12)


def test_no_permutation_of_that_kind_undoes_shuffled_pixels() -> None:
    model = mixer()
    shuffled = ShuffledInput(permute_weights(model), "pixels")
    assert (shuffled(images()) - model(images())).abs().max() > 0.01


@pytest.mark.parametrize(
    ("optimizer", "rate", "tolerance"),
    # Muon orthogonalises in bfloat16, whose sums depend on the order of their terms.
    [("adamw", 0.01, 1e-9), ("sgd", 0.1, 1e-9), ("muon", 0.01, 0.02)],
)
def test_training_on_shuffled_patches_goes_step_by_step_as_on_untouched_images(
    optimizer: str, rate: float, tolerance: float
) -> None:
    model = mixer()
    shuffled = ShuffledInput(permute_weights(model), "patches")
    options = OptimizerOptions(optimizer=optimizer, learning_rate=rate)  # type: ignore[arg-type]
    targets = torch.eye(5, dtype=torch.float64)[torch.arange(6) % 5]
    losses: list[list[float]] = []
    for one in (model, shuffled):
        optimizers = Optimizers(one.train(), options)
        losses.append([])
        for _ in range(5):
            loss = classification_loss(one(images()), targets, LossOptions())
            loss.backward()
            optimizers.step(1.0)
            losses[-1].append(float(loss.detach()))
    assert losses[0][-1] < losses[0][0] - 0.1  # it did learn
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    assert isinstance(shuffled.model, Mixer)
    expected = permute_weights(model).state_dict()
    for name, tensor in shuffled.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("name", ["mixer_nano", "bit_nano", "vit_nano"])
@pytest.mark.parametrize("kind", ["patches", "pixels"])
def test_a_saved_model_shuffles_as_it_did(name: str, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mlpmixer.create_model(name, image_size=16, num_classes=3, input_shuffle=kind).eval()
    torch.nn.init.normal_(list(model.parameters())[-2])  # the head starts at zero
    model.save(tmp_path / "model.safetensors")
    again = mlpmixer.load(tmp_path / "model.safetensors")
    some = torch.rand(2, 3, 16, 16) * 2 - 1
    assert torch.equal(again(some), model(some))
    plain = mlpmixer.create_model(name, image_size=16, num_classes=3).eval()
    own = {key.removeprefix("model."): one for key, one in model.state_dict().items()}
    del own["order"]
    plain.load_state_dict(own)
    assert not torch.equal(plain(some), model(some))


def test_wrong_use_is_named() -> None:
    with pytest.raises(UsageError, match="Use --shuffle-patch-size 4"):
        mlpmixer.create_model(
            "bit_nano", image_size=16, input_shuffle="patches", shuffle_patch_size=5
        )
    with pytest.raises(UsageError, match=r"unknown input shuffle 'pixel'\. Did you mean pixels"):
        mlpmixer.create_model("bit_nano", image_size=16, input_shuffle="pixel")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected"):
        ShuffledInput(mixer(), "pixels")(torch.zeros(1, 3, 16, 16, dtype=torch.float64))


def test_a_patch_size_without_a_shuffle_is_refused() -> None:
    with pytest.raises(UsageError, match="--input-shuffle patches"):
        mlpmixer.create_model("mixer_nano", image_size=32, shuffle_patch_size=8)
