"""Reading a statement from the book.

Every figure is a sum of entries of `charges` with `booked_month` = the month (or before it) and `recorded_at` up to a
moment. Entries of a month are of hours of that month or, as corrections, of earlier ones, never of later ones; so the
primary key (agreement, period_start) bounds what is read.

A closed month is described as it was known when it was closed: terms, coverage and the state of its hours.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from compose.finance.moments import next_month, start_of
from compose.finance.statement.cents import Amounts
from compose.finance.statement.model import Change, Coverage, Line, Statement, Support, Usage, utc
from compose.options import Mistake
from compose.reference.history import NoReference, config_at, latest_change_at
from schemas.config import Agreement, Config, Credits, Programme
from schemas.money import decimal_to_nano, to_nano

_FOREVER = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Month:
    """A month, what was believed of it, and the terms that held."""

    client: Client
    month: date
    until: datetime
    """Records until here count."""
    closed_at: datetime | None
    config: Config
    terms_at: datetime
    """When these terms were last changed."""

    @property
    def known(self) -> datetime:
        """Until when records describe the figures: its closing, once it is closed."""
        return min(self.until, self.closed_at or self.until)

    def query(self, select: str, **parameters: object) -> list[Any]:
        """Rows of a query that may name {month}, {next}, {until} and {known}."""
        bound = {
            "month": self.month.isoformat(),
            "next": next_month(self.month).isoformat(),
            "until": _text(self.until),
            "known": _text(self.known),
        }
        return list(self.client.query(select, parameters={**bound, **parameters}).result_rows)


def open_month(client: Client, month: date, until: datetime | None = None) -> Month:
    """A month as recorded until a moment (None: now). Raises Mistake: it has not begun, or no terms are recorded."""
    if start_of(month) > (until or datetime.now(UTC)):
        raise Mistake(
            f"{month:%Y-%m} had not begun on {until:%Y-%m-%d}: name a later --as-of, or an earlier month."
            if until
            else f"{month:%Y-%m} has not begun: name a month that has."
        )
    until = until or _FOREVER
    closed = client.query(
        "SELECT min(recorded_at) FROM billing_periods WHERE month = {month:Date} AND status = 'closed' "
        "AND recorded_at <= {until:DateTime64(3, 'UTC')} HAVING count() > 0",
        parameters={"month": month.isoformat(), "until": _text(until)},
    ).result_rows
    closed_at = _utc(closed[0][0]) if closed else None
    known = min(until, closed_at or until)
    try:
        return Month(client, month, until, closed_at, config_at(client, known), latest_change_at(client, known))
    except NoReference as error:
        raise Mistake(str(error)) from None


def agreements(month: Month) -> list[str]:
    """Every agreement, in the order of the reference data. Raises Mistake: one that has entries is not described."""
    known = [agreement.id for agreement in month.config.agreement]
    booked = month.query(
        "SELECT DISTINCT agreement FROM charges WHERE booked_month = {month:Date} "
        "AND period_start < {next:DateTime('UTC')} AND recorded_at <= {until:DateTime64(3, 'UTC')} AND agreement != '' "
        "ORDER BY agreement"
    )
    strangers = [f'"{name}"' for (name,) in booked if name not in known]
    if strangers:
        raise Mistake(
            f"{month.month:%Y-%m} has entries of {' and '.join(strangers)}, which the reference data of then do not "
            "describe: `commonwatt reference apply` a file that does."
        )
    return known


def statement(month: Month, name: str) -> Statement:
    """The statement of one agreement. Raises Mistake: there is no such agreement, or it has two currencies."""
    agreement, programme = _described(month.config, name)
    lines = _lines(month, agreement, programme)
    own = [line for line in lines if line.first >= start_of(month.month)]
    spent_before_nano, used_nano, edition, booked_at = _booked(month, agreement)
    settled_at, final, provisional = _hours(month, agreement)
    coverage, covered_at = _coverage(month, agreement)
    support, supported_at = _support(month, agreement)
    closed_at = [] if month.closed_at is None else [month.closed_at]
    granted = agreement.rule if isinstance(agreement.rule, Credits) and agreement.rule.unit != "amount" else None
    grant_nano = to_nano(granted.quantity * 3600) if granted and granted.quantity is not None else None
    used_before_nano = to_nano(granted.used_before * 3600) if granted else 0
    return Statement(
        agreement=agreement,
        programme=programme,
        month=month.month,
        currency=programme.currency,
        recorded_until=max(
            [start_of(month.month), month.terms_at, *booked_at, *settled_at, *covered_at, *supported_at, *closed_at]
        ),
        closed_at=month.closed_at,
        edition=edition,
        lines=own,
        corrections=[line for line in lines if line.first < start_of(month.month)],
        changes=_changes(month, agreement),
        spent_before_nano=spent_before_nano + to_nano(agreement.spent_before),
        granted_nano=grant_nano,
        granted_used_nano=0 if grant_nano is None else min(grant_nano, used_nano + used_before_nano),
        coverage=coverage,
        final_hours=final,
        provisional_hours=provisional,
        support=support,
    )


def _described(config: Config, name: str) -> tuple[Agreement, Programme]:
    known = {agreement.id: agreement for agreement in config.agreement}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        listed = ", ".join(list(known)[:8]) + (", …" if len(known) > 8 else "")
        remedy = f'did you mean "{close[0]}"?' if close else f"write one of {listed}." if known else "none is recorded."
        raise Mistake(f'no agreement has the id "{name}": {remedy}')
    agreement = known[name]
    return agreement, next(programme for programme in config.programme if programme.id == agreement.programme)


# ---- entries ---------------------------------------------------------------------------------------------------------

_OWN = (
    "agreement = {agreement:String} AND period_start < {next:DateTime('UTC')} "
    "AND recorded_at <= {until:DateTime64(3, 'UTC')}"
)
_BOOKED = f"{_OWN} AND booked_month = {{month:Date}}"
_OF_MONTH = f"{_BOOKED} AND period_start >= {{month:DateTime('UTC')}}"
_AMOUNTS = "sum(cost), sum(subsidy), sum(charge)"
_AMOUNTS_IN_MONTH = ", ".join(f"sumIf({one}, booked_month = {{month:Date}})" for one in ("cost", "subsidy", "charge"))
_USAGE = (
    "sum(gpu_seconds), sum(counter_seconds), sum(integrated_seconds), sum(bridged_seconds), sum(energy_j), "
    "sum(prompt_tokens), sum(cached_tokens), sum(generation_tokens)"
)
# The month's own usage has no reason of its own: a late sample is part of the line that it belongs to.
_LINES = f"""
SELECT min(period_start), max(period_end), if(period_start < {{month:DateTime('UTC')}}, reason, '') AS why,
       cluster, deployment, workload, model, sku, rule, price_version, currency, {_USAGE}, {_AMOUNTS}
FROM charges
WHERE {_BOOKED}
GROUP BY toStartOfMonth(period_start) AS of_month, why, cluster, deployment, workload, model, sku, rule, price_version,
         currency
ORDER BY of_month, cluster, deployment, workload, model, sku, rule, price_version, why, currency
"""
_CHANGES = f"""
SELECT kind, reason, max(recorded_at), min(period_start), max(period_end), uniqExact(period_start), {_AMOUNTS}
FROM charges
WHERE {_BOOKED} AND kind IN ('revision', 'adjustment')
GROUP BY kind, reason, toDate(recorded_at)
ORDER BY max(recorded_at), kind, reason
"""
_SPENT = f"""
SELECT sumIf(subsidy, booked_month < {{month:Date}}), sumIf(gpu_seconds, credited), sumIf(rgu_seconds, credited),
       uniqExactIf(recorded_at, booked_month = {{month:Date}} OR recorded_at >= {{month:DateTime('UTC')}}),
       max(recorded_at), count()
FROM (SELECT *, startsWith(rule, 'credits ') AS credited FROM charges WHERE {_OWN} AND booked_month <= {{month:Date}})
"""
_SUPPORT = f"""
SELECT agreement, max(recorded_at), sumIf(subsidy, booked_month < {{month:Date}}), {_AMOUNTS_IN_MONTH}
FROM charges
WHERE {_OWN.replace("= {agreement:String}", "IN {agreements:Array(String)}")} AND booked_month <= {{month:Date}}
GROUP BY agreement
"""


def _lines(month: Month, agreement: Agreement, programme: Programme) -> list[Line]:
    lines = []
    for row in month.query(_LINES, agreement=agreement.id):
        first, end, reason, cluster, deployment, workload, model, sku, rule, price_version, currency = row[:11]
        usage, amounts = _usage(row[11:19]), _amounts(row[19:])
        if usage == Usage() and amounts == Amounts():
            continue  # taken back in full
        if currency != programme.currency:
            raise Mistake(
                f'entries of "{agreement.id}" in {month.month:%Y-%m} are in {currency}, and its programme counts in '
                f"{programme.currency}: `commonwatt rerate` those hours, or name an --as-of before that changed."
            )
        lines.append(
            Line(
                _utc(first), _utc(end), reason, cluster, deployment, workload, model, sku, rule, price_version,
                usage, amounts,
            )
        )  # fmt: skip
    return lines


def _changes(month: Month, agreement: Agreement) -> list[Change]:
    return [
        Change(kind, reason, _utc(recorded_at), _utc(first), _utc(end), hours, _amounts(amounts))
        for kind, reason, recorded_at, first, end, hours, *amounts in month.query(_CHANGES, agreement=agreement.id)
    ]


# With what they find, the readers say when the newest record of it was made, if there is any.


def _booked(month: Month, agreement: Agreement) -> tuple[int, int, int, list[datetime]]:
    """Subsidy booked before the month; device seconds under credits until its end; edition."""
    ((subsidy, gpu_seconds, rgu_seconds, edition, newest, entries),) = month.query(_SPENT, agreement=agreement.id)
    in_rgu = isinstance(agreement.rule, Credits) and agreement.rule.unit == "rgu_hours"
    used = rgu_seconds if in_rgu else gpu_seconds
    return decimal_to_nano(subsidy), decimal_to_nano(used), edition, [_utc(newest)] * bool(entries)


def _support(month: Month, agreement: Agreement) -> tuple[list[Support], list[datetime]]:
    """The agreements that support the same usage, in the order in which they pay; none when it is only this one."""
    chain = _chain(month.config.agreement, agreement)
    if len(chain) == 1:
        return [], []
    rows = month.query(_SUPPORT, agreements=[one.id for one in chain])
    booked = {name: (_amounts(sums), decimal_to_nano(before)) for name, _, before, *sums in rows}
    support = []
    for one in chain:
        amounts, before_nano = booked.get(one.id, (Amounts(), 0))
        support.append(Support(one, amounts, before_nano + to_nano(one.spent_before)))
    return support, [_utc(newest) for _, newest, *_ in rows]


def _chain(known: Sequence[Agreement], agreement: Agreement) -> list[Agreement]:
    """From the one that pays first; each followed by those that come after it."""
    by_id: Mapping[str, Agreement] = {one.id: one for one in known}
    first = agreement
    while first.after:
        first = by_id[first.after]
    return list(_followed(first, known))


def _followed(first: Agreement, known: Sequence[Agreement]) -> Iterable[Agreement]:
    yield first
    for one in known:
        if one.after == first.id:
            yield from _followed(one, known)


# ---- what lies under them --------------------------------------------------------------------------------------------

_HOURS = f"""
SELECT max(settled_at), countIf(status = 'final'), countIf(status != 'final')
FROM (SELECT DISTINCT period_start FROM charges WHERE {_OF_MONTH}) AS used
LEFT JOIN
(
    SELECT period_start, argMax(status, (revision, recorded_at)) AS status, max(recorded_at) AS settled_at
    FROM settlements
    WHERE period_start >= {{month:DateTime('UTC')}} AND period_start < {{next:DateTime('UTC')}}
      AND recorded_at <= {{known:DateTime64(3, 'UTC')}}
    GROUP BY period_start
) AS settled USING (period_start)
"""
_COVERAGE = f"""
SELECT cluster, count(), sum(observed), sum(expected), max(found_at)
FROM
(
    SELECT cluster, argMax(observed_seconds, recorded_at) AS observed,
           argMax(expected_seconds, recorded_at) AS expected, max(recorded_at) AS found_at
    FROM coverage_hourly
    WHERE period_start >= {{month:DateTime('UTC')}} AND period_start < {{next:DateTime('UTC')}}
      AND recorded_at <= {{known:DateTime64(3, 'UTC')}}
      AND (period_start, cluster) IN (SELECT period_start, cluster FROM charges WHERE {_OF_MONTH})
    GROUP BY period_start, cluster
)
GROUP BY cluster
ORDER BY cluster
"""


def _hours(month: Month, agreement: Agreement) -> tuple[list[datetime], int, int]:
    """Hours of the agreement that are final, and that may still change by themselves."""
    ((settled_at, final, provisional),) = month.query(_HOURS, agreement=agreement.id)
    return [_utc(settled_at)] * bool(final + provisional), final, provisional


def _coverage(month: Month, agreement: Agreement) -> tuple[list[Coverage], list[datetime]]:
    rows = month.query(_COVERAGE, agreement=agreement.id)
    found = [
        Coverage(cluster, hours, decimal_to_nano(observed), decimal_to_nano(expected))
        for cluster, hours, observed, expected, _ in rows
    ]
    return found, [_utc(found_at) for *_, found_at in rows]


# ---- values ----------------------------------------------------------------------------------------------------------


def _usage(row: Sequence[Any]) -> Usage:
    whole, counter, integrated, bridged, energy_j, prompt, cached, generation = row
    return Usage(
        gpu_seconds_nano=decimal_to_nano(whole),
        counter_seconds_nano=decimal_to_nano(counter),
        integrated_seconds_nano=decimal_to_nano(integrated),
        bridged_seconds_nano=decimal_to_nano(bridged),
        energy_mj=decimal_to_nano(energy_j) // 1_000_000,
        prompt_tokens=prompt,
        cached_tokens=cached,
        generation_tokens=generation,
    )


def _amounts(row: Sequence[Decimal]) -> Amounts:
    cost, subsidy, charge = (decimal_to_nano(value) for value in row)
    return Amounts(cost, subsidy, charge)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(moment: datetime) -> str:
    return utc(moment).replace("T", " ").removesuffix("Z")
