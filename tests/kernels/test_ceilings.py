"""What the machine can do at most is measured, or refused in plain words."""

from types import SimpleNamespace

import pytest

from mlpmixer.errors import MixerError
from mlpmixer.kernels import ceilings
from mlpmixer.kernels.ceilings import arithmetic, product_ceiling, read_bandwidth
from mlpmixer.kernels.library import Library
from mlpmixer.kernels.native import Precision, levels_here

pytestmark = pytest.mark.skipif(not levels_here("float32"), reason="no native kernels here")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("level", ["avx2", "portable", "amx_emulated"])
def test_every_level_and_precision_has_a_ceiling(
    precision: Precision, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if level not in levels_here(precision, emulated=True):
        pytest.skip(f"no {level} here")
    monkeypatch.setenv("MLPMIXER_KERNEL_LEVEL", level)
    assert product_ceiling(precision, threads=2, seconds=0.003) > 0


def test_bfloat16_without_an_instruction_is_computed_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert arithmetic("float32") == "float32"
    assert arithmetic("int8") == "int8"
    monkeypatch.setenv("MLPMIXER_KERNEL_LEVEL", "portable")
    assert arithmetic("bfloat16") == "float32"


def test_memory_is_read_at_some_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "LARGER_THAN_CACHES", 1 << 20)
    assert read_bandwidth(threads=2) > 0


def test_too_little_memory_is_said_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "LARGER_THAN_CACHES", 1 << 60)
    with pytest.raises(MixerError, match="not enough memory"):
        read_bandwidth(threads=2)


def test_measuring_memory_takes_no_more_than_a_quarter_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []

    def bandwidth(each: int, threads: int) -> float:
        taken.append(each * threads)
        return 1.0

    functions = SimpleNamespace(mlpmixer_bandwidth=bandwidth)
    monkeypatch.setattr(ceilings, "library", lambda: Library(functions, ""))
    monkeypatch.setattr(ceilings, "free_memory", lambda _: 4 << 30)
    assert read_bandwidth(threads=8) == 1
    assert max(taken) == 1 << 30
    with pytest.raises(MixerError, match="64 times 64 MB are needed, in a quarter of what is free"):
        read_bandwidth(threads=64)


def test_without_kernels_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "library", lambda: Library(None, "they are not built"))
    with pytest.raises(MixerError, match="they are not built"):
        product_ceiling("float32")
    with pytest.raises(MixerError, match="they are not built"):
        read_bandwidth()
