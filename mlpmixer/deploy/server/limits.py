"""What a server takes on: everything that a client could make grow has an end."""

from dataclasses import dataclass

from mlpmixer.values import Count, Megapixels, Milliseconds, Positive


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on requests, batches and the queue."""

    largest_batch: Count = 16
    """Pictures that are computed together at most."""
    wait_milliseconds: Milliseconds = 5.0
    """How long a picture waits for others to be computed with."""
    queue: Count = 128
    """Pictures of each model that may be on their way; more are answered by 503."""
    body_megabytes: Positive = 20.0
    """Size of a request's body."""
    megapixels: Megapixels = 100.0
    """Size of a picture; larger ones are refused before they are decoded."""
    files: Count = 32
    """Pictures in a request."""
    seconds: Positive = 30.0
    """Time that a request may take, its answer included, and a connection that brings none."""

    @property
    def body_bytes(self) -> int:
        """Size of a request's body in bytes."""
        return int(self.body_megabytes * 1e6)
