"""Micro-batches: what arrives together is computed together, nothing is lost, nothing grows."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
import torch
from torch import Tensor

from mlpmixer.deploy.server.batching import Batcher, CutOff, Overloaded


def picture(value: int) -> Tensor:
    return torch.full((3, 2, 2), value, dtype=torch.uint8)


class Computer:
    """Returns each picture's value; waits until it is let go."""

    def __init__(self, held: bool = False) -> None:
        self.sizes: list[int] = []
        self.may_go = threading.Event()
        self.at_work = threading.Event()
        if not held:
            self.may_go.set()

    def __call__(self, pixels: Tensor) -> Tensor:
        self.sizes.append(len(pixels))
        self.at_work.set()
        assert self.may_go.wait(30)
        if (pixels == 255).any():
            raise ValueError("a bad picture")
        return pixels[:, :1, 0, 0].float()


Make = Callable[..., Batcher]


def make(computer: Computer, **options: float) -> Batcher:
    usual = {"largest_batch": 4, "wait_seconds": 0.0, "queue_size": 8}
    return Batcher(computer, **{**usual, **options})  # type: ignore[arg-type]


def test_each_picture_gets_its_own_answer() -> None:
    batcher = make(Computer(), wait_seconds=0.05)
    answers = [batcher.submit(picture(value)) for value in range(8)]
    assert [float(one.result(10)) for one in answers] == list(range(8))
    batcher.close()


def test_what_waits_is_computed_together_up_to_the_largest_batch() -> None:
    computer = Computer(held=True)
    batcher = make(computer)
    first = batcher.submit(picture(0))
    assert computer.at_work.wait(10)
    others = [batcher.submit(picture(value)) for value in range(1, 7)]
    computer.may_go.set()
    assert [float(one.result(10)) for one in (first, *others)] == list(range(7))
    assert computer.sizes == [1, 4, 2]
    batcher.close()


def test_a_full_queue_refuses_and_takes_on_again_when_there_is_room() -> None:
    computer = Computer(held=True)
    batcher = make(computer, queue_size=2)
    taken = [batcher.submit(picture(0))]
    assert computer.at_work.wait(10)
    taken += [batcher.submit(picture(value)) for value in (1, 2)]
    with pytest.raises(Overloaded):
        batcher.submit(picture(3))
    assert len(batcher) == 2
    computer.may_go.set()
    assert [float(one.result(10)) for one in taken] == [0, 1, 2]
    assert float(batcher.submit(picture(4)).result(10)) == 4
    batcher.close()


def test_an_error_belongs_to_those_who_were_in_the_batch() -> None:
    batcher = make(Computer(), largest_batch=1)
    with pytest.raises(ValueError, match="a bad picture"):
        batcher.submit(picture(255)).result(10)
    assert float(batcher.submit(picture(7)).result(10)) == 7
    batcher.close()


def test_a_picture_that_nobody_waits_for_is_not_computed() -> None:
    computer = Computer(held=True)
    batcher = make(computer, largest_batch=1)
    first = batcher.submit(picture(0))
    assert computer.at_work.wait(10)
    left, stays = batcher.submit(picture(1)), batcher.submit(picture(2))
    assert left.cancel()
    computer.may_go.set()
    assert [float(one.result(10)) for one in (first, stays)] == [0, 2]
    assert computer.sizes == [1, 1]
    batcher.close()


def test_closing_finishes_what_was_taken_on() -> None:
    computer = Computer(held=True)
    batcher = make(computer)
    answers: list[Future[Tensor]] = [batcher.submit(picture(value)) for value in range(5)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    computer.may_go.set()
    closing.join(10)
    assert [float(one.result(0)) for one in answers] == list(range(5))
    with pytest.raises(Overloaded):
        batcher.submit(picture(0))


class Killed(BaseException):
    pass


class KilledByNine(Computer):
    """Its thread does not survive the value 9."""

    def __call__(self, pixels: Tensor) -> Tensor:
        values = super().__call__(pixels)
        if (pixels == 9).any():
            raise Killed
        return values


def test_a_worker_that_is_killed_is_logged_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    batcher = make(KilledByNine(), largest_batch=1)
    lost = batcher.submit(picture(9))
    with pytest.raises(CutOff):
        lost.result(10)
    assert float(batcher.submit(picture(3)).result(10)) == 3
    batcher.close()
    reports = [one.exc_info for one in caplog.records if one.levelname == "CRITICAL"]
    assert [one is not None and one[0] for one in reports] == [Killed, Killed]


class KilledOnce(Computer):
    """Its thread does not survive its first batch."""

    def __call__(self, pixels: Tensor) -> Tensor:
        values = super().__call__(pixels)
        if len(self.sizes) == 1:
            raise Killed
        return values


def test_pictures_whose_worker_is_killed_are_answered_by_the_next_one() -> None:
    computer = KilledOnce()
    batcher = make(computer, largest_batch=3, wait_seconds=30.0)
    answers = [batcher.submit(picture(value)) for value in range(3)]
    assert [float(one.result(10)) for one in answers] == [0, 1, 2]
    assert computer.sizes == [3, 3]
    batcher.close()


def test_a_worker_that_is_killed_with_the_last_batch_lets_the_batcher_close() -> None:
    computer = KilledByNine(held=True)
    batcher = make(computer, largest_batch=2, wait_seconds=30.0)
    lost = batcher.submit(picture(9))  # gathered together with the end
    closing = threading.Thread(target=batcher.close)
    closing.start()
    computer.may_go.set()
    with pytest.raises(CutOff):
        lost.result(10)
    closing.join(10)
    assert not closing.is_alive()
