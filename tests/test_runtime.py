"""Devices, precisions and randomness."""

import pytest
import torch

from mlpmixer import runtime
from mlpmixer.errors import UsageError
from mlpmixer.randomness import derived_seed, generator


def test_auto_takes_what_the_machine_has() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert runtime.choose_device("auto").type == expected


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "mps"])
def test_a_device_that_is_not_here_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        runtime.choose_device(name)


@pytest.mark.parametrize("native", [True, False])
def test_precision_follows_the_hardware(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "multiplies_bfloat16", lambda _: native)
    cpu = torch.device("cpu")
    expected = torch.bfloat16 if native else torch.float32
    assert runtime.choose_precision("auto", cpu) == expected
    assert runtime.choose_precision("float32", cpu) == torch.float32


def test_bfloat16_is_taken_where_it_is_asked_for_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(runtime, "multiplies_bfloat16", lambda _: False)
    assert runtime.choose_precision("bfloat16", torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(runtime, "has_bfloat16", lambda _: False)
    with pytest.raises(UsageError, match="--precision float32"):
        runtime.choose_precision("bfloat16", torch.device("cpu"))


def test_autocast_multiplies_in_the_precision_asked_for() -> None:
    cpu, layer, row = torch.device("cpu"), torch.nn.Linear(4, 4), torch.randn(1, 4)
    with runtime.autocast(cpu, torch.bfloat16):
        assert layer(row).dtype == torch.bfloat16
    with runtime.autocast(cpu, torch.float32):
        assert layer(row).dtype == torch.float32


def test_generators_differ_by_name_and_repeat_by_seed() -> None:
    draws = [
        torch.rand(3, generator=generator(*names))
        for names in ((0, "a", 1), (0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1))
    ]
    assert torch.equal(draws[0], draws[1])
    assert all(not torch.equal(draws[0], other) for other in draws[2:])
    assert 0 <= derived_seed(0, "x") < 2**63


def test_peak_memory_is_that_of_this_process() -> None:
    block = torch.ones(50_000_000)  # 200 MB
    assert runtime.peak_memory(torch.device("cpu")) > block.nbytes
