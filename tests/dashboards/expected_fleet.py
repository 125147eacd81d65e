"""What the figures of unit economics, fleet operations and metering health must be, worked out from the seeded rows in
plain Python, without SQL."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from dashboards.macros import Window
from tests.dashboards import seed_fleet
from tests.dashboards.expected import Line, end_of, in_range, spans
from tests.dashboards.seed import AGREEMENT, HOUR, MINUTE, Ledger, Settled, hour_of
from tests.dashboards.seed_fleet import MODEL_OF, PUE, REGION, Usage

Figure = Fraction | Decimal | float | int | None

CLOSED_AFTER = timedelta(seconds=15)
NOW = 5 * MINUTE
LATELY = 30 * MINUTE
IDLE_FOR = 10 * MINUTE
IDLE_BELOW = Fraction(2, 100)
_J_PER_KWH, _G_PER_KG = 3_600_000, 1000


@dataclass(frozen=True)
class Choice:
    """Values chosen of each variable; none: All."""

    programme: tuple[str, ...] = ()
    agreement: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    currency: str = "CAD"

    def variables(self) -> dict[str, list[str]]:
        """As a query takes them."""
        names = ("programme", "agreement", "cluster", "model")
        return {name: list(getattr(self, name)) for name in names} | {"currency": [self.currency]}

    def of_line(self, line: Line) -> bool:
        """Whether a row of cost is chosen, whatever its currency."""
        return all(
            not chosen or value in chosen
            for chosen, value in (
                (self.programme, line.programme),
                (self.agreement, line.agreement),
                (self.cluster, line.cluster),
                (self.model, line.model),
            )
        )

    def of_usage(self, row: Usage) -> bool:
        """Whether a row of the GPU ledger is chosen."""
        programme = AGREEMENT[row.agreement].programme if row.agreement else ""
        return all(
            not chosen or value in chosen
            for chosen, value in (
                (self.programme, programme),
                (self.agreement, row.agreement),
                (self.cluster, row.cluster),
                (self.model, MODEL_OF.get(row.deployment, "")),
            )
        )


# ---- unit economics --------------------------------------------------------------------------------------------------


def _at(line: Line, span: timedelta) -> datetime:
    """Begin of the minute, hour or day that a row counts in."""
    moment = line.period_start if isinstance(line, Settled) else line.minute
    return moment if span == MINUTE else hour_of(moment) if span == HOUR else hour_of(moment).replace(hour=0)


def _rate(lines: Iterable[Line], span: timedelta, now: datetime, amount: Callable[[Line], Decimal | int]) -> Figure:
    """A sum per second over whole minutes, hours or days, the first left out unless it is the only one."""
    sums: dict[datetime, Decimal | int] = {}
    for line in lines:
        at = _at(line, span)
        if at + span <= now - CLOSED_AFTER:
            sums[at] = sums.get(at, 0) + amount(line)
    whole = sorted(sums)[1:] or sorted(sums)
    return Fraction(sum(sums[at] for at in whole)) / (len(whole) * int(span.total_seconds())) if whole else None


def _tokens(line: Line) -> int:
    return line.prompt_tokens + line.generation_tokens


def _divided(over: Decimal | int, below: Decimal | int) -> Figure:
    return Fraction(over) / Fraction(below) if below else None


def economics(ledger: Ledger, window: Window, choice: Choice, now: datetime) -> dict[str, Figure]:
    """The six figures of unit economics by panel name."""
    span = spans(window)
    lines = [line for line in in_range(ledger, window) if choice.of_line(line)]
    priced = [line for line in lines if line.currency == choice.currency]
    serving, serving_priced = ([line for line in rows if line.model] for rows in (lines, priced))
    subsidised = [line for line in priced if line.agreement]
    per_second = _rate(priced, span, now, lambda line: line.cost)
    return {
        "cost-per-mtok": _divided(
            sum(line.cost for line in serving_priced) * 1_000_000, sum(map(_tokens, serving_priced))
        ),
        "energy-per-token": _divided(sum(line.energy_j for line in serving), sum(map(_tokens, serving))),
        "tokens-per-second": _rate(lines, span, now, _tokens),
        "cost-per-hour": per_second if per_second is None else Fraction(per_second) * 3600,
        "busy-share": _divided(sum(line.busy_seconds for line in lines), sum(line.gpu_seconds for line in lines)),
        "subsidy-share": _divided(sum(line.subsidy for line in subsidised), sum(line.cost for line in subsidised)),
    }


# ---- fleet operations ------------------------------------------------------------------------------------------------


@dataclass
class _Device:
    seconds: Fraction = Fraction(0)
    held: Fraction = Fraction(0)
    busy: Fraction = Fraction(0)
    busy_known: Fraction = Fraction(0)
    measured: Fraction = Fraction(0)
    energy_j: Fraction = Fraction(0)


@dataclass(order=True)
class Holder:
    """A workload that holds a device slice."""

    cluster: str
    device: str
    slice: str
    workload: str
    agreement: str
    currency: str
    rows: list[Usage] = field(compare=False)

    @property
    def per_hour(self) -> Fraction:
        """Cost."""
        return Fraction(sum(row.cost for row in self.rows)) * 3600 / self.held_s

    @property
    def held_s(self) -> Fraction:
        return sum((Fraction((row.ts_end - row.ts_start) / timedelta(seconds=1)) for row in self.rows), Fraction(0))

    def is_idle(self, end: datetime) -> bool:
        known = sum(row.busy_known_seconds for row in self.rows)
        return bool(
            self.workload
            and known
            and Fraction(sum(row.busy_seconds for row in self.rows)) / Fraction(known) < IDLE_BELOW
            and self.held_s >= IDLE_FOR.total_seconds()
            and max(row.ts_end for row in self.rows) >= end - NOW
        )


def _of_last(ledger: Ledger, end: datetime, most: timedelta, choice: Choice) -> list[Usage]:
    return [row for row in seed_fleet.usage(ledger) if end - most <= row.ts_start <= end and choice.of_usage(row)]


def idle(ledger: Ledger, window: Window, choice: Choice) -> list[Holder]:
    """Who holds what and does nothing with it, whatever the currency."""
    end, holders = end_of(window), dict[tuple[str, ...], Holder]()
    for row in _of_last(ledger, end, LATELY, choice):
        key = (row.cluster, row.device, row.slice, row.workload, row.agreement, row.currency)
        holders.setdefault(key, Holder(*key, [])).rows.append(row)
    return [holder for holder in holders.values() if holder.is_idle(end)]


def fleet(ledger: Ledger, window: Window, choice: Choice) -> dict[str, Figure]:
    """The six figures of fleet operations by panel name."""
    devices: dict[tuple[str, str], _Device] = {}
    for row in _of_last(ledger, end_of(window), NOW, choice):
        device = devices.setdefault((row.cluster, row.device), _Device())
        device.seconds += Fraction(row.gpu_seconds)
        device.held += Fraction(row.gpu_seconds) if row.workload else 0
        device.busy += Fraction(row.busy_seconds)
        device.busy_known += Fraction(row.busy_known_seconds)
        device.measured += Fraction(row.gpu_seconds) if row.method != "time" else 0
        device.energy_j += Fraction(row.energy_j)
    of = devices.values()
    watts = [device.energy_j / device.measured for device in of if device.measured]
    lately = _of_last(ledger, end_of(window), LATELY, choice)
    wasted = sum((one.per_hour for one in idle(ledger, window, choice) if one.currency == choice.currency), Fraction(0))
    return {
        "devices": len(devices) or None,
        "held-share": sum(one.held for one in of) / sum(one.seconds for one in of) if devices else None,
        "busy-share": sum(one.busy for one in of) / sum(one.busy_known for one in of) if devices else None,
        "power": sum(watts, Fraction(0)) / 1000 if watts else None,
        "idle-cost": wasted if lately else None,
        "carbon": carbon_kg(ledger, window, choice),
    }


def _intensity(now: datetime, region: str, day: datetime) -> Decimal | None:
    known = [
        row
        for row in seed_fleet.intensities(now)
        if row.region == region and row.effective_from <= day.astimezone(UTC).date()
    ]
    return max(known, key=lambda row: row.effective_from).g_per_kwh if known else None


def carbon_kg(ledger: Ledger, window: Window, choice: Choice) -> Figure:
    """Emissions of the chosen work in the range, kg CO2e, of what is known; None: nothing of it is."""
    total, known = Fraction(0), False
    for line in in_range(ledger, window):
        if choice.of_line(line):
            intensity = _intensity(ledger.now, REGION[line.cluster], _at(line, spans(window)))
            if intensity is not None:
                known = True
                kwh = Fraction(line.energy_j) * Fraction(PUE[line.cluster]) / _J_PER_KWH
                total += kwh * Fraction(intensity) / _G_PER_KG
    return total if known else None


# ---- metering health -------------------------------------------------------------------------------------------------


def health(ledger: Ledger, window: Window, clusters: tuple[str, ...]) -> dict[str, Figure]:
    """The figures of metering health by panel name, without that of alerts."""
    now, end = ledger.now, end_of(window)
    since, to = (datetime.fromtimestamp(second, UTC) for second in (window.from_s, window.to_s))

    def of(cluster: str) -> bool:
        return not clusters or cluster in clusters

    delays = sorted(
        message.delay_s
        for message in seed_fleet.messages(now)
        if since <= message.stored_at <= to and message.stored_at >= end - 15 * MINUTE
        if message.fate == "metered" and message.delay_s is not None and of(message.shard.split("/")[0])
    )
    defects = {
        (row.cluster, row.kind, row.source, row.subject, row.ts)
        for row in seed_fleet.defects(now)
        if since <= row.ts <= to and row.kind != "target_up" and of(row.cluster)
    }
    return {
        "lag": delays[int(0.99 * len(delays))] if delays else None,
        "quarantined": sum(
            1 for row in seed_fleet.quarantine(now) if row.ts <= to and row.replayed_at is None and of(row.cluster)
        ),
        "defect-count": len(defects),
        "late-rows": sum(1 for row in seed_fleet.late(now) if since <= row.recorded_at <= to and of(row.cluster)),
        "unsettled": _unsettled(ledger, end, to),
    }


def _unsettled(ledger: Ledger, end: datetime, to: datetime) -> int | None:
    """Hours that had ended by then, after the newest that was settled by then."""
    minutes = sorted({row.minute for row in ledger.unit_costs if row.minute <= to})
    if not minutes:
        return None
    over = min(hour_of(end), hour_of(minutes[-1]) + HOUR)
    settled = [row.period_start + HOUR for row in ledger.settled if row.period_start + HOUR + 5 * MINUTE <= to]
    return max(0, (over - max(settled, default=hour_of(minutes[0]))) // HOUR)
