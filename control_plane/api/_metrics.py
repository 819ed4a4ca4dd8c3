"""What Prometheus reads. A registry of its own; no label holds anything that a caller wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from control_plane.xds import Response

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Gauges(Protocol):
    """Values that are read when Prometheus asks: (name, help, value)."""

    def __call__(self) -> Iterable[tuple[str, str, float]]: ...


class Metrics:
    """Counts and times; `gauges` are read at every scrape."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "naru_api_requests", "Answers of the API", ["method", "status"], registry=self._registry
        )
        self._writes = Counter(
            "naru_writes", "Resources written", ["kind", "change"], registry=self._registry
        )
        self._compile = Histogram(
            "naru_compile_seconds", "Time to compile a snapshot",
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._failures = Counter(
            "naru_compile_failures", "Snapshots that could not be compiled", registry=self._registry
        )
        self._sent = Counter(
            "naru_xds_sent_resources", "Resources sent to nodes", ["type"], registry=self._registry
        )
        self._sent_bytes = Counter(
            "naru_xds_sent_bytes", "Bytes of them", ["type"], registry=self._registry
        )

    def sent(self, response: Response) -> None:
        """A discovery response goes out."""
        kind = response.type_url.rpartition(".")[2]
        self._sent.labels(kind).inc(len(response.resources))
        self._sent_bytes.labels(kind).inc(sum(len(each.body) for each in response.resources))

    def observe(self, gauges: Gauges) -> None:
        """Read these too."""
        self._registry.register(_Gauges(gauges))

    def answered(self, method: str, status: int) -> None:
        known = method if method in ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE") else "other"
        self._requests.labels(known, str(status)).inc()

    def wrote(self, kind: str, change: str) -> None:
        self._writes.labels(kind, change).inc()

    def compiled(self, seconds: float, good: bool) -> None:
        self._compile.observe(seconds)
        if not good:
            self._failures.inc()

    def exposition(self) -> bytes:
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Iterable[tuple[str, str, float]]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        for name, text, value in self._read():
            yield GaugeMetricFamily(name, text, value=value)

    def describe(self) -> Iterable[Metric]:
        return ()
