"""Optimizers, loss and averaged weights."""

import math

import pytest
import torch
from torch.nn import functional as F

import mlpmixer
from mlpmixer.training.loss import classification_loss
from mlpmixer.training.muon import Muon, orthogonalize
from mlpmixer.training.optim import Optimizers, averaged
from mlpmixer.training.recipe import LossOptions, OptimizerOptions


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_a_state_brings_its_moments_and_not_its_hyperparameters(name: str) -> None:
    def made(decay: float, momentum: float, beta: float) -> Optimizers:
        torch.manual_seed(0)
        model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=4, depth=1)
        options = OptimizerOptions(
            optimizer=name,  # type: ignore[arg-type]
            weight_decay=decay,
            momentum=momentum,
            betas=(beta, 0.99),
        )
        optimizers = Optimizers(model, options)
        for parameter in optimizers.parameters:
            parameter.grad = torch.ones_like(parameter)
        return optimizers

    before, after = made(0.1, 0.9, 0.9), made(0.0, 0.5, 0.8)
    wanted = [dict(g) for one in after.all for g in one.param_groups]
    before.step(1.0)
    after.load_state_dict(before.state_dict())
    for group, own in zip((g for one in after.all for g in one.param_groups), wanted, strict=True):
        assert {k: v for k, v in group.items() if k != "params"} == {
            k: v for k, v in own.items() if k != "params"
        }
    moved = [parameter for one in after.all for parameter in one.state]
    assert len(moved) == len(after.parameters)
    old = {id(p): s for one in before.all for p, s in one.state.items()}
    pairs = zip(before.parameters, after.parameters, strict=True)
    states = {id(p): s for one in after.all for p, s in one.state.items()}
    for one, other in pairs:
        for key, value in old[id(one)].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[id(other)][key]))


def test_a_state_of_other_groups_is_refused() -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, patch_size=4, depth=1)
    optimizers = Optimizers(model, OptimizerOptions())
    states = optimizers.state_dict()
    first, second = states[0]["param_groups"]  # type: ignore[misc]
    joined = {**first, "params": [*first["params"], *second["params"]]}
    states[0]["param_groups"] = [joined]
    with pytest.raises(ValueError, match="groups the parameters in another way"):
        optimizers.load_state_dict(states)


@pytest.mark.parametrize(("native", "kind"), [(True, torch.bfloat16), (False, torch.float32)])
def test_orthogonalize_computes_in_what_the_hardware_multiplies(
    native: bool, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpmixer.training.muon.multiplies_bfloat16", lambda device: native)
    assert orthogonalize(torch.eye(4, 6)[None]).dtype == kind


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (32, 32)])
def test_orthogonalize_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    updates = orthogonalize(torch.stack([matrix, 100 * matrix])).float()
    assert updates.shape == (2, *shape)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    for update in updates:  # each by its own scale
        values = torch.linalg.svdvals(update)
        assert values.min() > 0.5
        assert values.max() < 1.3
        assert F.cosine_similarity(update.flatten(), (u @ vh).flatten(), dim=0) > 0.97


def test_averaged_squares_bring_all_rows_to_one_length_and_keep_the_matrixs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Equation by equation as in algorithm 1 of arXiv 2510.05491, but for the overall length."""
    monkeypatch.setattr("mlpmixer.training.muon.multiplies_bfloat16", lambda device: False)
    random = torch.Generator().manual_seed(0)
    scales = torch.tensor([[1.0], [10.0], [100.0], [0.0]])
    weight = torch.nn.Parameter(torch.zeros(4, 6))
    optimizer = Muon([weight], lr=1.0, momentum=0.9, row_average=0.5)
    momentum, squares = torch.zeros(4, 6), torch.zeros(4, 1)
    for step in range(1, 4):
        weight.grad = scales * torch.randn(4, 6, generator=random)
        before = weight.detach().clone()
        optimizer.step()
        momentum = 0.9 * momentum + 0.1 * weight.grad
        plain = orthogonalize((0.1 * weight.grad + 0.9 * momentum)[None])[0]
        squares = 0.5 * squares + 0.5 * plain.square().mean(dim=1, keepdim=True)
        rows = plain / (squares / (1 - 0.5**step)).sqrt().clamp_min(1e-8)
        expected = rows * plain.norm() / rows.norm()
        torch.testing.assert_close(before - weight.detach(), expected, rtol=1e-4, atol=1e-6)
        assert torch.equal(weight[3], torch.zeros(6))  # no gradient, no way to go
    state = optimizer.state_dict()["state"][0]
    assert state["squares"].shape == (4,)


def test_a_matrix_without_a_gradient_stays_where_it_is() -> None:
    """As all inner ones do in the first step after a start at zero."""
    weight = torch.nn.Parameter(torch.ones(4, 6))
    weight.grad = torch.zeros(4, 6)
    Muon([weight], lr=1.0, row_average=0.95).step()
    assert torch.equal(weight, torch.ones(4, 6))


@pytest.mark.parametrize("row_average", [0.0, 0.9])
@pytest.mark.parametrize("together", [1, 2**22])
def test_muon_moves_a_matrix_as_if_it_were_alone(
    together: int, row_average: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpmixer.training.muon.multiplies_bfloat16", lambda device: False)
    monkeypatch.setattr("mlpmixer.training.muon.TOGETHER", together)
    random = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (4, 6), (6, 4), (4, 3, 2, 1), (5, 5), (6, 4)]
    starts = [torch.randn(shape, generator=random) for shape in shapes]
    apart = [torch.nn.Parameter(start.clone()) for start in starts]
    joined = [torch.nn.Parameter(start.clone()) for start in starts]
    optimizers = [Muon([one], lr=0.1, weight_decay=0.1, row_average=row_average) for one in apart]
    optimizers.append(Muon(joined, lr=0.1, weight_decay=0.1, row_average=row_average))
    for number in range(3):
        for one, other in zip(apart, joined, strict=True):
            one.grad, other.grad = torch.sin(one.detach()), torch.sin(other.detach())
        joined[-1].grad = None if number else joined[-1].grad  # then it stays
        apart[-1].grad = None if number else apart[-1].grad
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(apart, joined, strict=True):
        torch.testing.assert_close(one, other)


def test_muon_on_a_kernel_moves_as_on_the_matrix_it_stands_for() -> None:
    start = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    kernel, matrix = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.flatten(1).clone())
    for _ in range(3):
        for parameter in (kernel, matrix):
            optimizer = Muon([parameter], lr=0.1, weight_decay=0.1)
            parameter.grad = torch.sin(parameter.detach())
            optimizer.step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_muon_takes_the_inner_matrices_and_adamw_all_else() -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=16, depth=2)
    optimizers = Optimizers(model, OptimizerOptions(optimizer="muon"))
    adamw, muon = optimizers.all
    inner = {id(p) for group in muon.param_groups for p in group["params"]}
    expected = {id(p) for name, p in model.blocks.named_parameters() if p.ndim == 2}
    assert inner == expected
    others = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert inner | others == {id(p) for p in model.parameters()}
    assert not inner & others


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_weight_decay_spares_biases_and_norms(name: str) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=16, depth=2)
    options = OptimizerOptions(optimizer=name, weight_decay=0.1)
    for optimizer in Optimizers(model, options).all:
        for group in optimizer.param_groups:
            if group["weight_decay"]:
                assert all(p.ndim >= 2 for p in group["params"])
            else:
                assert all(p.ndim < 2 for p in group["params"])


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_every_optimizer_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    model = mlpmixer.create_model("mixer_nano", image_size=16, depth=2)
    images, labels = torch.randn(16, 3, 16, 16), torch.arange(16) % 10
    rate = 0.1 if name == "sgd" else 3e-3
    optimizers = Optimizers(model, OptimizerOptions(optimizer=name, learning_rate=rate))
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizers.step(1.0)
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.05


def test_gradients_are_clipped_to_the_global_norm_and_then_forgotten() -> None:
    model = torch.nn.Linear(2, 2)
    options = OptimizerOptions(
        optimizer="sgd", momentum=0.0, learning_rate=1.0, weight_decay=0.0, clip_norm=1.0
    )
    optimizers = Optimizers(model, options)
    before = model.weight.detach().clone()
    model.weight.grad = torch.full((2, 2), 3.0)
    model.bias.grad = torch.zeros(2)
    norm = optimizers.step(0.5)
    assert norm.item() == pytest.approx(6.0)
    torch.testing.assert_close(before - model.weight.detach(), torch.full((2, 2), 0.25))
    assert model.weight.grad is None


def test_averaged_weights_follow_exponentially() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)
    average = averaged(model, decay=0.9)
    average.update_parameters(model)
    torch.nn.init.constant_(model.weight, 2.0)
    average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(0.9 * 1.0 + 0.1 * 2.0)


def test_softmax_loss_smooths_labels_as_pytorch_does() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 4])
    ours = classification_loss(
        logits, F.one_hot(labels, 5).float(), LossOptions(label_smoothing=0.1)
    )
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_sigmoid_loss_sums_over_classes_and_averages_over_images() -> None:
    logits = torch.zeros(4, 10)
    targets = torch.zeros(4, 10)
    targets[:, :2] = 1.0
    loss = classification_loss(logits, targets, LossOptions(loss="sigmoid"))
    assert loss.item() == pytest.approx(10 * math.log(2))
