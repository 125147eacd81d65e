"""A ledger in memory that answers what a replay asks of the book, and replays messages into it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from schemas.topics import Envelope
from streams.late import Hole, LateSamples, Placing, Spans, fill, stood, went_on
from streams.metering.intervals import MINUTE_MS
from streams.telemetry import Message
from tests.streams.metering.ledger import GpuWorker, gpu_rows
from tests.streams.metering.samples import Observation, gpu_batch

Late = Sequence[Observation]
"""A message that is late."""


@dataclass
class LateBook:
    """The ledger of a live worker, and the raw samples that it took in."""

    worker: GpuWorker
    raw: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = field(default_factory=dict)
    keeps_raw: bool = True
    """Whether raw samples are still there at a replay."""

    def live(self, message: Late) -> None:
        """The worker reads a message."""
        self.worker.fold(message)
        self._keep(message)

    def fill(self, messages: Sequence[Late]) -> None:
        """Fill the holes that these messages lie in."""
        for cluster, late in _by_cluster(messages).items():
            samples = LateSamples(late)
            placing = Placing(samples, Spans(samples.devices, self._spans(cluster, samples.devices)))
            for holes, chosen in placing.waves():
                filled = fill(
                    samples, chosen, holes, self._before(cluster, holes), self._after(cluster, holes),
                    self.worker.max_gap_ms,
                )  # fmt: skip
                self.worker.store.insert(gpu_rows(filled.meter, filled.rows))
        for message in messages:
            self._keep(message)

    def publish(self, messages: Sequence[Late]) -> None:
        """Give them to the live worker, which takes what is newer than everything."""
        for message in messages:
            self.worker.fold(message)
        self.worker.commit()

    def _keep(self, message: Late) -> None:
        for sample in message:
            self.raw.setdefault(
                (sample.cluster, sample.device, sample.ts_ms),
                {
                    part.name: {
                        "power_w": sample.power_w, "energy_mj": sample.energy_mj, "busy": part.busy,
                        "busy_source": "" if part.busy is None else "gr_engine_active",
                    }
                    for part in sample.slices
                },
            )  # fmt: skip

    def _spans(self, cluster: str, devices: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        for device in devices:
            own = sorted((row["ts_start_ms"], row["ts_end_ms"]) for row in self._rows(cluster, device))
            now: tuple[int, int] | None = None
            for start, end in own:
                if now is not None and start <= now[1]:
                    now = (now[0], max(now[1], end))
                    continue
                if now is not None:
                    yield (device, *now)
                now = (start, end)
            if now is not None:
                yield (device, *now)

    def _before(self, cluster: str, holes: Iterable[Hole]) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for hole in holes:
            ending = [row for row in self._rows(cluster, hole.device) if row["ts_end_ms"] == hole.start_ms]
            ending.sort(key=lambda row: (row["slice"], row["ts_start_ms"]))
            newest = [list(rows)[-1] for _, rows in groupby(ending, key=lambda row: row["slice"])]
            raw = self.raw.get((cluster, hole.device, hole.start_ms), {}) if self.keeps_raw else {}
            found += stood(newest, raw)
        return found

    def _after(self, cluster: str, holes: Iterable[Hole]) -> Mapping[str, list[dict[str, Any]]]:
        found = {}
        for hole in holes:
            minute_end = (hole.end_ms // MINUTE_MS + 1) * MINUTE_MS
            rows = [row for row in self._rows(cluster, hole.device) if hole.end_ms <= row["ts_start_ms"] < minute_end]
            raw = self.raw[cluster, hole.device, hole.end_ms] if self.keeps_raw else {}
            found[hole.device] = went_on(hole.device, hole.end_ms, rows, raw)
        return found

    def _rows(self, cluster: str, device: str) -> list[dict[str, Any]]:
        rows = self.worker.store.rows.values()
        return [row for row in rows if (row["cluster"], row["device"]) == (cluster, device)]


def _by_cluster(messages: Sequence[Late]) -> dict[str, list[Message]]:
    found: dict[str, list[Message]] = {}
    for message in messages:
        cluster, shard = message[0].cluster, message[0].shard
        batch = gpu_batch(message)
        envelope = Envelope("gpu-samples/1", cluster, shard.split("/")[1], "boot", 1, batch.num_rows)
        found.setdefault(cluster, []).append(Message(shard, envelope, batch))
    return found
