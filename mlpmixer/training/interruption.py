"""Ctrl-C and termination, turned into a wish to stop at the next safe place."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """While active, the first signal to stop is kept; a second one stops at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """What was heard; None while nobody wishes to stop."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # signals are heard there alone
            self._before = {
                number: signal.signal(number, self._heard)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
        else:
            self._before = {}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
