"""A stream that goes quiet where nobody takes what is written to it any more."""

from typing import Any, TextIO


class QuietStream:
    """Passes on what is written until that fails, as on a closed pipe or a full disk; then nothing.

    What is said of some work must not end it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None
        """Why the stream takes no more; None while it does."""

    def write(self, text: str) -> int:
        """Write the text; return how many characters it has."""
        if self.lost is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self.lost = error
        return len(text)

    def flush(self) -> None:
        """Pass on what is still held back."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self.lost = error

    def __getattr__(self, name: str) -> Any:
        """Be like the stream in all other respects, such as being a terminal."""
        return getattr(self._stream, name)
