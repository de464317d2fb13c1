"""Ctrl-C, termination and the end of a terminal, as a wish to stop at the next safe place."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

_HANGUP = getattr(signal, "SIGHUP", None)
"""Says that the terminal is gone, or the connection to it; Windows has none."""


class Interruption:
    """While active, the first signal to stop is kept; a second one stops at once.

    A terminal that goes is told by several, of which none but the first counts; where it is to be
    outlived, as under `nohup`, none does.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """What was heard; None while nobody wishes to stop."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # signals are heard there alone
            numbers = [signal.SIGINT, signal.SIGTERM]
            if _HANGUP is not None and signal.getsignal(_HANGUP) not in (signal.SIG_IGN, None):
                numbers.append(_HANGUP)
            self._before = {number: signal.signal(number, self._heard) for number in numbers}
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
        if self.signal is None:
            self.signal = signal.Signals(number)
        elif number != _HANGUP:
            raise KeyboardInterrupt
