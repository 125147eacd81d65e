"""One target: its address, its reader, and what is known of its health."""

import asyncio
import logging
import time
from urllib.parse import urlsplit

from collectors.batches import Timed
from collectors.clock import Clock
from collectors.exposition import PageError
from collectors.readings import Origin, Reader, Reading
from collectors.registry import KINDS
from collectors.scraper import Fetched, ScrapeError, Scraper
from collectors.statistics import Statistics
from schemas.config import TargetKind
from schemas.topics import Defect

logger = logging.getLogger(__name__)

REPEAT_MS = 10 * 60 * 1000  # a defect that stays is reported again after ten minutes
MAX_WAITING = 1000  # defects of a target not yet sent
LARGE_PAGE_BYTES = 1024 * 1024  # read on a thread: learning its layout takes a while
MAX_TIMEOUT_S = 10.0


class DefectLog:
    """Defects waiting to be sent; the same one is not taken in again for ten minutes."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._last_ms: dict[tuple[str, str], int] = {}
        self._waiting: list[Defect] = []

    def note(self, ts_ms: int, kind: str, subject: str = "", detail: str = "") -> None:
        last_ms = self._last_ms.get((kind, subject))
        if last_ms is None or not 0 <= ts_ms - last_ms < REPEAT_MS:
            self._last_ms[kind, subject] = ts_ms
            self.add(ts_ms, kind, subject, detail)
            if len(self._last_ms) > MAX_WAITING:
                self._last_ms = {key: at for key, at in self._last_ms.items() if 0 <= ts_ms - at < REPEAT_MS}

    def add(self, ts_ms: int, kind: str, subject: str = "", detail: str = "") -> None:
        """Take one in although it may be a repetition. The oldest are kept when there are too many."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(Defect(ts_ms=ts_ms, source=self._source, kind=kind, subject=subject, detail=detail))

    def take(self, most: int) -> list[Defect]:
        """Up to `most` of the waiting defects, oldest first."""
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        return taken


class Target:
    """One address that is scraped. A scrape never raises: what goes wrong becomes a defect."""

    def __init__(
        self,
        origin: Origin,
        url: str,
        reader: Reader,
        timeout_s: float,
        statistics: Statistics,
        clock: Clock,
    ) -> None:
        self.origin = origin
        self.defects = DefectLog(f"{origin.kind} {origin.url}")
        self.busy = False
        self._url = url
        self._reader = reader
        self._timeout_s = timeout_s
        self._statistics = statistics
        self._clock = clock
        self._up: bool | None = None

    async def scrape(self, scraper: Scraper) -> Timed[Reading] | None:
        """One reading, or None when there is none to be had this time."""
        self.busy = True
        begun = time.monotonic()
        try:
            return await self._scrape(scraper)
        finally:
            self.busy = False
            self._statistics.scrape_s.add(time.monotonic() - begun)

    async def _scrape(self, scraper: Scraper) -> Timed[Reading] | None:
        self._statistics.scrapes += 1
        try:
            fetched = await scraper.fetch(self._url, self._timeout_s, suspect=self._up is False)
            reading = await self._read(fetched)
        except (ScrapeError, PageError) as error:
            self._failed(error.kind, str(error))
            return None
        except Exception as error:
            # A page that a reader cannot cope with must not stop the other targets.
            logger.exception("reading %s failed", self.origin.url)
            self._failed("reader_failed", type(error).__name__)
            return None
        self._statistics.lines += reading.lines
        for fault in reading.faults:
            self.defects.note(fetched.ts_ms, *fault)
        if self._up is False:
            self._statistics.targets_down -= 1
            self.defects.add(fetched.ts_ms, "target_up")
        self._up = True
        self._statistics.samples += len(reading)
        return Timed(fetched.ts_ms, reading)

    async def _read(self, fetched: Fetched) -> Reading:
        if len(fetched.body) > LARGE_PAGE_BYTES:
            return await asyncio.to_thread(self._reader.read, fetched.body)
        return self._reader.read(fetched.body)

    def _failed(self, kind: str, detail: str) -> None:
        """Down from the first failed scrape on: so it is known within two intervals, even after a slow failure."""
        now_ms = round(self._clock() * 1000)
        self._statistics.failures += 1
        self.defects.note(now_ms, kind, "", detail)
        if self._up is not False:
            self._up = False
            self._statistics.targets_down += 1
            self.defects.add(now_ms, "target_down", "", detail)


def make_target(
    kind: TargetKind,
    url: str,
    *,
    interval_s: float,
    timeout_s: float | None,
    deployment: str,
    statistics: Statistics,
    clock: Clock = time.time,
) -> Target:
    """The target at `url`. Its credentials, if it has any, stay in the request."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    written = f"[{host}]" if ":" in host else host
    endpoint = f"{written}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    origin = Origin(
        kind=kind,
        url=f"{parts.scheme}://{endpoint}{parts.path}",
        host=host,
        # Servers behind one proxy differ in the path only.
        endpoint=endpoint + parts.path.removesuffix("/metrics").rstrip("/"),
        deployment=deployment,
    )
    limit_s = min(0.8 * interval_s, MAX_TIMEOUT_S) if timeout_s is None else timeout_s
    statistics.targets += 1
    return Target(origin, url, KINDS[kind].reader(origin), limit_s, statistics, clock)
