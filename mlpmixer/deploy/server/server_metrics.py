"""What a server counts and times, in the form that Prometheus reads."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class ServerMetrics:
    """Counters of one server, apart from any other in this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "mixer_requests", "Requests answered.", ["model", "status"], registry=self.registry
        )
        self._latency = Histogram(
            "mixer_request_seconds",
            "Time from a request's first byte to its answer.",
            ["model"],
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self._batches = Histogram(
            "mixer_batch_pictures",
            "Pictures computed together.",
            ["model"],
            buckets=_BATCHES,
            registry=self.registry,
        )
        self._waits = Histogram(
            "mixer_queue_seconds",
            "How long the first picture of a batch waited.",
            ["model"],
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self._queue = Gauge(
            "mixer_queue_pictures", "Pictures on their way.", ["model"], registry=self.registry
        )

    def answered(self, model: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(model, str(status)).inc()
        self._latency.labels(model).observe(seconds)

    def of_batches(self, model: str) -> Callable[[int, float], None]:
        """Return what takes the size of a batch and the seconds that its first picture waited."""
        sizes, waits = self._batches.labels(model), self._waits.labels(model)

        def observe(size: int, waited: float) -> None:
            sizes.observe(size)
            waits.observe(waited)

        return observe

    def watch_queue(self, model: str, length: Callable[[], int]) -> None:
        """Ask for a model's queue whenever the measures are read."""
        self._queue.labels(model).set_function(length)

    def text(self) -> bytes:
        """Return everything in Prometheus' text form."""
        return generate_latest(self.registry)
