"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters of one server; several may run in a process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.streams = Gauge("ldm_streams", "Open streams.", registry=registry)
        self.lanes = Gauge("ldm_lanes", "Lanes of the open streams.", registry=registry)
        self.steps = Counter("ldm_steps", "Steps of lanes for which an action was chosen.", registry=registry)
        self.passes = Histogram("ldm_pass_streams", "Streams in a pass.", buckets=SIZES, registry=registry)
        self.latency = Histogram(
            "ldm_act_seconds",
            "Seconds from a request for an action to its answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self.errors = Counter("ldm_errors", "Requests that were refused or failed.", ["kind"], registry=registry)
        self.refused = Counter("ldm_refused", "Clients that were turned away.", ["reason"], registry=registry)

    def text(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self._registry)
