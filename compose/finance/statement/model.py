"""What a statement is: exact figures of one agreement and month, without words. Pure."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from functools import cached_property, reduce

from compose.finance.moments import next_month, start_of
from compose.finance.statement.cents import Amounts, Cents, balance, in_cents, total
from schemas.config import Agreement, Programme
from schemas.money import nano_to_decimal, to_nano
from streams.planning import planned_nano


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used. Seconds are of a whole device."""

    gpu_seconds_nano: int = 0
    counter_seconds_nano: int = 0
    integrated_seconds_nano: int = 0
    bridged_seconds_nano: int = 0
    energy_mj: int = 0
    prompt_tokens: int = 0
    """Cached ones included."""
    cached_tokens: int = 0
    generation_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def unmeasured_seconds_nano(self) -> int:
        """Device time without any energy measured."""
        measured = self.counter_seconds_nano + self.integrated_seconds_nano + self.bridged_seconds_nano
        return self.gpu_seconds_nano - measured


@dataclass(frozen=True, slots=True)
class Line:
    """Entries of the book with the same labels, added up."""

    first: datetime
    """Start of the first hour that it has entries of."""
    end: datetime
    """End of the last one, exclusive."""
    reason: str
    """Why an earlier month is corrected; empty in a line of the month's own usage."""
    cluster: str
    deployment: str
    workload: str
    model: str
    sku: str
    rule: str
    price_version: str
    usage: Usage
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed on one day, for one reason, after the first settlement of the hours."""

    kind: str
    """revision: hours of this month; adjustment: hours of a month that was closed."""
    reason: str
    recorded_at: datetime
    """When the last entry of it was recorded."""
    first: datetime
    end: datetime
    """Exclusive."""
    hours: int
    """That were changed between `first` and `end`."""
    amounts: Amounts
    """Differences."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a cluster was observed in the hours in which the agreement used it."""

    cluster: str
    hours: int
    observed_seconds_nano: int
    expected_seconds_nano: int


@dataclass(frozen=True, slots=True)
class Support:
    """What one of several agreements that support the same usage comes to in this month."""

    agreement: Agreement
    amounts: Amounts
    spent_before_nano: int
    """Subsidy booked before this month, and before metering."""

    @property
    def cents(self) -> Cents:
        """As the statement of that agreement shows it."""
        return total(self.amounts, self.spent_before_nano)


@dataclass(frozen=True)
class Statement:
    """One agreement and month as recorded until a moment."""

    agreement: Agreement
    programme: Programme
    month: date
    """First day."""
    currency: str
    recorded_until: datetime
    """Newest record that it rests on. Asked again as of this moment, the statement is the same."""
    closed_at: datetime | None
    """When the month was closed; None: it is open and its figures are provisional."""
    edition: int
    """At how many moments entries of this agreement were recorded that are booked in this month, or before it but since
    it began: two statements of the same number and edition rest on the same entries of it."""
    lines: list[Line]
    corrections: list[Line]
    changes: list[Change]
    spent_before_nano: int
    """Subsidy booked before this month, and before metering."""
    granted_nano: int | None
    """GPU or RGU seconds that the rule grants; None: it grants none."""
    granted_used_nano: int
    """Of these, used until the end of this month."""
    coverage: list[Coverage]
    final_hours: int
    provisional_hours: int
    """Hours in which the agreement has usage in this month, by the state of their settlement."""
    support: list[Support]
    """Agreements that support the same usage, in the order in which they pay; empty when this is the only one."""

    @property
    def number(self) -> str:
        """Such as ``access-fund/acme-ai/2026-10``."""
        return f"{self.programme.id}/{self.agreement.id}/{self.month:%Y-%m}"

    @property
    def ends(self) -> date:
        """First day after the month."""
        return next_month(self.month)

    # ---- exact -------------------------------------------------------------------------------------------------------

    @cached_property
    def used(self) -> Usage:
        """Of the month, without corrections of earlier ones."""
        return reduce(Usage.__add__, (line.usage for line in self.lines), Usage())

    @cached_property
    def usage_amounts(self) -> Amounts:
        """Of the month's own usage."""
        return _sum(self.lines)

    @cached_property
    def correction_amounts(self) -> Amounts:
        """Of earlier months, booked in this one."""
        return _sum(self.corrections)

    @property
    def amounts(self) -> Amounts:
        """Of everything that is booked in the month."""
        return self.usage_amounts + self.correction_amounts

    @property
    def spent_nano(self) -> int:
        """Subsidy until the end of this month."""
        return self.spent_before_nano + self.amounts.subsidy_nano

    @property
    def cap_nano(self) -> int | None:
        """Most that the programme pays under the agreement."""
        return None if self.agreement.cap is None else to_nano(self.agreement.cap)

    @property
    def planned_nano(self) -> int | None:
        """Subsidy that was planned to be spent by the end of this month; None: neither plan nor cap."""
        return planned_nano(self.agreement, int(start_of(self.ends).timestamp()) * 1000)

    # ---- to the cent -------------------------------------------------------------------------------------------------

    @property
    def cents(self) -> Cents:
        """The total."""
        return total(self.amounts, self.spent_before_nano)

    @cached_property
    def subtotals(self) -> tuple[Cents, Cents]:
        """Of the month's usage and of the corrections; they add up to the total."""
        usage, corrections = in_cents([self.usage_amounts, self.correction_amounts], self.cents)
        return usage, corrections

    @cached_property
    def line_cents(self) -> list[Cents]:
        """Of `lines`."""
        return in_cents([line.amounts for line in self.lines], self.subtotals[0])

    @cached_property
    def correction_cents(self) -> list[Cents]:
        """Of `corrections`."""
        return in_cents([line.amounts for line in self.corrections], self.subtotals[1])

    @property
    def spent_before_cents(self) -> int:
        """Spent before this month: what the statement of the month before it has as spent in total."""
        return balance(self.spent_before_nano)

    @property
    def spent_cents(self) -> int:
        """Spent until the end of this month: what was spent before it, and the programme's part of the total."""
        return balance(self.spent_nano)

    # ---- proof -------------------------------------------------------------------------------------------------------

    @property
    def totals_query(self) -> str:
        """SQL whose answer is the exact total."""
        until = utc(self.recorded_until).replace("T", " ").removesuffix("Z")
        return (
            "SELECT sum(cost) AS cost, sum(subsidy) AS subsidy, sum(charge) AS charge "
            "FROM charges "
            f"WHERE agreement = '{self.agreement.id}' AND booked_month = '{self.month}' "
            f"AND period_start < '{self.ends}' AND recorded_at <= '{until}'"
        )

    @cached_property
    def digest_rows(self) -> list[str]:
        """What the digest is made over: number and currency, then each exact line, as JSON arrays."""
        rows: list[Sequence[str | int]] = [(self.number, self.currency)]
        rows += [("usage", *_exact(line)) for line in self.lines]
        rows += [("correction", *_exact(line)) for line in self.corrections]
        return [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]

    @property
    def digest(self) -> str:
        """SHA-256 over these rows, each ended by a newline, in UTF-8."""
        return hashlib.sha256("".join(f"{row}\n" for row in self.digest_rows).encode()).hexdigest()


def utc(moment: datetime) -> str:
    """Such as ``2026-11-05T12:00:03.123Z``, which `--as-of` reads."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def exact(nano: int) -> str:
    """Nine places, such as ``1234.567890000``."""
    return format(nano_to_decimal(nano), "f")


def _sum(lines: Iterable[Line]) -> Amounts:
    return reduce(Amounts.__add__, (line.amounts for line in lines), Amounts())


def _exact(line: Line) -> tuple[str | int, ...]:
    usage, amounts = line.usage, line.amounts
    return (
        utc(line.first), utc(line.end), line.reason, line.cluster, line.deployment, line.workload, line.model, line.sku,
        line.rule, line.price_version, exact(usage.gpu_seconds_nano), usage.energy_mj, usage.prompt_tokens,
        usage.cached_tokens, usage.generation_tokens, exact(amounts.cost_nano), exact(amounts.subsidy_nano),
        exact(amounts.charge_nano),
    )  # fmt: skip
