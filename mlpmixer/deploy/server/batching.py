"""Pictures that arrive one by one, computed together: micro-batches within a budget of time."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

_log = logging.getLogger("mlpmixer.server")


class Overloaded(Exception):
    """The queue is full: nothing was taken on."""


class CutOff(Exception):
    """The thread that computes ended with the picture at hand, and so did the one after it."""


@dataclass(frozen=True)
class _Waiting:
    pixels: Tensor  # uint8 (3, H, W)
    answer: "Future[Tensor]"
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Collects pictures into batches and computes them in a thread of its own.

    A batch is computed when it is full, or when its first picture has waited long enough; what
    arrives while a batch is computed makes up the next one. The queue is bounded.

    Args:
        compute: maps uint8 (B, 3, H, W) to probabilities (B, K).
        largest_batch: pictures a batch at most.
        wait_seconds: how long the first picture of a batch waits for others.
        queue_size: pictures that may wait; more are refused.
        observe: called with the size of each batch and the seconds that its first picture waited.
    """

    def __init__(
        self,
        compute: Callable[[Tensor], Tensor],
        *,
        largest_batch: int,
        wait_seconds: float,
        queue_size: int,
        observe: Callable[[int, float], None] = lambda size, waited: None,
    ) -> None:
        self._compute = compute
        self._largest = largest_batch
        self._wait = wait_seconds
        self._observe = observe
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(queue_size)
        self._lock = threading.Lock()
        self._closed = False
        self._last = False
        self._thread = self._started()

    def __len__(self) -> int:
        """Return how many pictures wait."""
        return self._queue.qsize()

    def submit(self, pixels: Tensor) -> "Future[Tensor]":
        """Return what will hold the probabilities (K,) of a picture, uint8 (3, H, W).

        Raises:
            Overloaded: the queue is full, or the batcher is closed.
        """
        waiting = _Waiting(pixels, Future())
        with self._lock:
            if self._closed:
                raise Overloaded
            try:
                self._queue.put_nowait(waiting)
            except queue.Full:
                raise Overloaded from None
        return waiting.answer

    def close(self) -> None:
        """Compute what was taken on, then end; nothing more is taken on."""
        with self._lock:
            already, self._closed = self._closed, True
        if not already:
            self._queue.put(None)
        while (thread := self._thread).is_alive():  # it may be another one afterwards
            thread.join()

    def _started(self, again: Sequence[_Waiting] = ()) -> threading.Thread:
        thread = threading.Thread(target=self._work, args=(again,), name="batches", daemon=True)
        thread.start()
        return thread

    def _work(self, again: Sequence[_Waiting]) -> None:
        """Compute batches, first what a thread before this one left unanswered."""
        at_hand = list(again)
        try:
            if wanted := _unanswered(at_hand):
                self._answer(wanted)
            again = ()
            at_hand.clear()
            while not self._last:
                self._compute_batch(at_hand)
                at_hand.clear()
        except BaseException as error:  # whatever ends the thread shall not end the service
            _log.critical("the thread of batches ended and is replaced", exc_info=error)
            for one in again:  # what ended two threads shall not end a third
                with suppress(InvalidStateError):  # it has its answer, or nobody waits for it
                    one.answer.set_exception(CutOff())
            left = [] if again else at_hand
            if left or not self._last:
                self._thread = self._started(left)

    def _compute_batch(self, batch: list[_Waiting]) -> None:
        """Gather the next batch into a list, and answer it."""
        first = self._queue.get()
        if first is None:
            self._last = True
            return
        batch.append(first)
        self._gather(batch)
        if wanted := _unanswered(batch):
            self._observe(len(wanted), time.monotonic() - first.since)
            self._answer(wanted)

    def _gather(self, batch: list[_Waiting]) -> None:
        until = batch[0].since + self._wait
        while len(batch) < self._largest:
            try:
                one = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if one is None:
                self._last = True
                return
            batch.append(one)

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            rows = self._compute(torch.stack([one.pixels for one in batch]))
        except Exception as error:  # it belongs to those who asked
            for one in batch:
                one.answer.set_exception(error)
            return
        for one, row in zip(batch, rows, strict=True):
            one.answer.set_result(row)


def _unanswered(batch: Sequence[_Waiting]) -> list[_Waiting]:
    """Return those whose answers somebody waits for."""
    return [
        one
        for one in batch
        if one.answer.running()
        or (not one.answer.done() and one.answer.set_running_or_notify_cancel())
    ]
