"""From charges to the rows of FOCUS, in ClickHouse: what each column of :mod:`.columns` is, as SQL.

A line of `charges` becomes at most two rows of CostAndUsage: `Usage` with its cost and all its quantities, and `Credit`
with what the programme pays of it, negative. Hence, for everything booked in a month and to the nano-unit:

- sum(BilledCost) of a billing account = sum(charge) of the agreement, and so of its invoice;
- sum(EffectiveCost) of the Usage rows = sum(cost); of the Credit rows = -sum(subsidy);
- quantities stand on Usage rows alone, so their sums are those of the ledger.

An agreement that supports what another one left has lines without cost, hence Credit rows alone. What no agreement pays
(idle, unattributed) is billed to the operator of the cluster, on no invoice.

Nearly all columns say the same of a line in every hour. So they are asked for once per line (:func:`identities`), the
figures once per line and hour (:func:`figures`); `export.py` puts them together. That is what makes it fast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from clickhouse_connect.driver.binding import format_query_value

from compose.finance.focus.columns import COST_AND_USAGE, METHOD, Kind
from compose.finance.focus.support import in_words
from compose.finance.moments import next_month, start_of
from schemas.config import Config

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Booked:
    """What an export is of: the entries booked in a month and recorded until a moment, under the names of then."""

    month: date
    until: datetime
    config: Config


# What tells lines apart, and from the same line's corrections, each with its reason.
_IDENTITY = (
    "category", "programme", "agreement", "cluster", "deployment", "workload", "model", "sku", "rule",
    "price_version", "price_currency", "currency", "corrects", "why",
)  # fmt: skip


def _hash(*columns: str) -> str:
    """128 bits that stand for the columns: two hashes of 64, which is much faster than one of 128."""
    of = ", ".join(columns)
    return (
        f"reinterpretAsFixedString(bitOr(bitShiftLeft(toUInt128(cityHash64({of})), 64), toUInt128(farmHash64({of}))))"
    )


_ENTRIES = """
SELECT *,
    toStartOfMonth(period_start) != booked AS corrects,
    if(corrects, reason, '') AS why,
    {line} AS line
FROM charges
WHERE booked_month = booked AND recorded_at <= until AND period_start >= first AND period_start < end
"""

# ---- what is said of a line, in every hour ---------------------------------------------------------------------------

IDENTITIES: Mapping[str, str] = {
    "AllocatedMethodId": f"if(divided AND usage, '{METHOD}', NULL)",
    "AllocatedResourceId": "if(divided AND usage AND paid, agreement, NULL)",
    "AllocatedResourceName": "if(divided AND usage AND paid, recipient, NULL)",
    "AllocatedTags": """if(divided AND usage AND paid, concat(
        '{"commonwatt/agreement":', toJSONString(agreement),
        ',"commonwatt/programme":', toJSONString(programme), '}'), NULL)""",
    "BillingAccountId": "if(paid, agreement, concat('operator/', cluster))",
    "BillingAccountName": "if(paid, recipient, operator)",
    "BillingAccountType": "if(paid, 'Agreement', 'Operator')",
    "BillingCurrency": "currency",
    "BillingPeriodEnd": "booked_end",
    "BillingPeriodStart": "booked_start",
    "ChargeCategory": "if(usage, 'Usage', 'Credit')",
    "ChargeClass": "if(corrects, 'Correction', NULL)",
    "ChargeDescription": """concat(
        if(usage, concat(service, ' on ', sku_id, ' of ', cluster), concat('Support by ', issuer, ': ', support)),
        if(corrects, concat('; correction: ', why), ''))""",
    "ChargeFrequency": "'Usage-Based'",
    "ConsumedUnit": "unit",
    "HostProviderName": "operator",
    "InvoiceDetailId": "if(paid, concat(if(usage, 'usage/', 'credit/'), cluster, '/', sku_id), NULL)",
    "InvoiceId": "if(paid, concat(programme, '/', agreement, month_suffix), NULL)",
    "InvoiceIssuerName": "if(paid, issuer, operator)",
    "PricingCategory": "if(usage, 'Standard', NULL)",
    "PricingCurrency": "if(usage AND price_currency != '', price_currency, currency)",
    "PricingUnit": "unit",
    "RegionId": "region",
    "RegionName": "region",
    "ResourceId": "concat(cluster, '/', resource)",
    "ResourceName": "resource",
    "ResourceType": "multiIf(deployment != '', 'Model Deployment', workload != '', 'Workload', 'GPU')",
    "ServiceCategory": "if(model = '', 'Compute', 'AI and Machine Learning')",
    "ServiceName": "service",
    "ServiceProviderName": "operator",
    "ServiceSubcategory": "if(model = '', 'Other (Compute)', 'Generative AI')",
    "SkuId": "sku_id",
    "SkuMeter": "if(sku = '', 'Tokens', 'GPU Time')",
    "SkuPriceDetails": """if(sku = '', NULL, concat('{"GpuCount":1,"InstanceType":', toJSONString(sku), '}'))""",
    "SkuPriceId": """concat(
        sku_id, '/', if(price_version = '', 'unpriced', replaceRegexpOne(price_version, '@[^/]*', '')))""",
    "SubAccountId": "project",
    "SubAccountName": "project",
    "SubAccountType": "if(isNull(project), NULL, 'Namespace')",
    "Tags": """concat('{"commonwatt/cluster":', toJSONString(cluster),
        if(model = '', '', concat(',"commonwatt/model":', toJSONString(model))), '}')""",
    "x_CostCategory": "category",
    "x_PriceVersion": "nullIf(price_version, '')",
    "x_SubsidyAgreementId": "nullIf(agreement, '')",
    "x_SubsidyProgrammeId": "nullIf(programme, '')",
    "x_SubsidyRule": "nullIf(rule, '')",
}
"""Column -> what it is, of a line (`usage`: of its Usage row, else of its Credit row)."""

_IDENTITIES = """
WITH
    {scope}, {names},
    {support} AS support,
    category = 'charged' AS paid,
    if(sku = '', 'tokens', sku) AS sku_id,
    if(usage, if(sku = '', 'Tokens', 'GPU-Hours'), NULL) AS unit,
    multiIf(deployment != '', deployment, workload != '', workload, sku_id) AS resource,
    if(model = '', 'GPU Compute', model) AS service,
    if(deployment = '' AND position(workload, '/') > 0, splitByChar('/', workload)[1], NULL) AS project,
    {divided} AS divided
SELECT line, {columns}
FROM (SELECT line, {identity} FROM ({entries}) LIMIT 1 BY line)
ARRAY JOIN [1, 0] AS usage
ORDER BY {identity}, usage DESC
"""

# ---- figures of a line and hour --------------------------------------------------------------------------------------

FIGURES: dict[str, str] = {
    "AllocatedMethodDetails": """if(corrects OR share_nano < 0, NULL, concat(
        '{"Elements":[{"AllocatedRatio":', toString(toDecimal64(share_nano, 9) / 1000000000),
        ',"UsageUnit":"Tokens","UsageQuantity":', toString(prompt_tokens + generation_tokens), '}]}'))""",
    "BilledCost": "cost",
    "ConsumedQuantity": """if(by_tokens,
        toDecimal128(prompt_tokens + generation_tokens, 9),
        toDecimal128(roundBankers(toDecimal128(gpu_seconds, 15) / 3600, 9), 9))""",
    "PricingCurrencyEffectiveCost": "if(unpriced, cost, price_cost)",
    "x_BusySeconds": "busy_seconds",
    "x_CoveragePct": "toDecimal128(roundBankers(observed_pct, 9), 9)",
    "x_EnergyJoules": "toDecimal128(energy_j, 9)",
    "x_GpuSeconds": "gpu_seconds",
    "x_MeasureMethod": """multiIf(
        counter_seconds = 0 AND integrated_seconds = 0 AND bridged_seconds = 0, NULL,
        integrated_seconds = 0 AND bridged_seconds = 0, 'counter',
        counter_seconds = 0 AND bridged_seconds = 0, 'integrated',
        counter_seconds = 0 AND integrated_seconds = 0, 'bridged',
        'mixed')""",
    "x_RguSeconds": "rgu_seconds",
    "x_SubsidyRate": """if(cost = 0 OR NOT paid, NULL,
        toNullable(toDecimal128(roundBankers(toDecimal128(subsidy, 12) / cost, 9), 9)))""",
    "x_TokensIn": "toDecimal128(prompt_tokens, 9)",
    "x_TokensInCached": "toDecimal128(cached_tokens, 9)",
    "x_TokensOut": "toDecimal128(generation_tokens, 9)",
}
"""Column -> what it is on the Usage row of a line in an hour."""

CREDITED = ("BilledCost", "PricingCurrencyEffectiveCost")
"""Of the Credit row these are minus the subsidy, and its rate is that of the Usage row; it has no other figures."""
RATE = "x_SubsidyRate"
CREDIT = "credit"

REPEATED: Mapping[str, str] = {
    "ContractedCost": "BilledCost",
    "EffectiveCost": "BilledCost",
    "ListCost": "BilledCost",
    "PricingQuantity": "ConsumedQuantity",
}
"""Column -> the column whose figure it repeats: nothing is discounted, negotiated or paid upfront."""

# The state of each line in an hour: its entries together. What came to nothing leaves no row.
_LINES = """
SELECT
    line, period_start, any(cluster) AS cluster, any(origin_of_line) AS origin_line,
    any(corrects) AS corrects, any(category = 'charged') AS paid, any(sku = '') AS by_tokens,
    any(price_currency = '') AS unpriced,
    sum(entry.gpu_seconds) AS gpu_seconds, sum(entry.busy_seconds) AS busy_seconds,
    sum(entry.rgu_seconds) AS rgu_seconds, sum(entry.energy_j) AS energy_j,
    sum(entry.counter_seconds) AS counter_seconds, sum(entry.integrated_seconds) AS integrated_seconds,
    sum(entry.bridged_seconds) AS bridged_seconds, sum(entry.prompt_tokens) AS prompt_tokens,
    sum(entry.cached_tokens) AS cached_tokens, sum(entry.generation_tokens) AS generation_tokens,
    sum(entry.price_cost) AS price_cost, sum(entry.cost) AS cost, sum(entry.subsidy) AS subsidy,
    cost != 0 OR gpu_seconds != 0 OR energy_j != 0 OR prompt_tokens != 0 OR generation_tokens != 0 AS used
FROM (SELECT *, {origin} AS origin_of_line FROM ({entries}) WHERE {which}) AS entry
GROUP BY line, period_start
HAVING used OR subsidy != 0
"""

# Of shared deployments: each line's share in its origin charge (the deployment's hour at one price), as nine places
# that add up to 1: what is left by rounding down goes to the largest remainders. The share is that of the cost, or of
# the device time where nothing costs, or of the tokens where there is neither. On corrections it is not used.
_UNDIVIDED = "SELECT *, toInt64(-1) AS share_nano FROM ({lines})"
_ORIGIN = _hash("cluster", "deployment", "sku", "price_version", "corrects")
_SHARES = """
SELECT * EXCEPT (weight, whole, share_down, place),
    toInt64(share_down + (place <= 1000000000 - sum(share_down) OVER origin)) AS share_nano
FROM (
    SELECT *, intDiv(weight * 1000000000, whole) AS share_down, row_number() OVER (
        PARTITION BY period_start, origin_line, used ORDER BY weight * 1000000000 % whole DESC, line
    ) AS place
    FROM (
        SELECT *, sum(weight) OVER origin AS whole
        FROM (
            SELECT *, multiIf(
                corrects, toInt128(1),
                sum(price_cost) OVER origin > 0, toInt128(price_cost * 1000000000),
                sum(gpu_seconds) OVER origin > 0, toInt128(gpu_seconds * 1000000000),
                sum(prompt_tokens + generation_tokens) OVER origin > 0, toInt128(prompt_tokens + generation_tokens),
                toInt128(1)
            ) AS weight
            FROM ({lines})
            WINDOW origin AS (PARTITION BY period_start, origin_line, used)
        )
        WINDOW origin AS (PARTITION BY period_start, origin_line, used)
    )
)
WINDOW origin AS (PARTITION BY period_start, origin_line, used)
"""

_COVERAGE = """
SELECT period_start, cluster, argMax(
    if(expected_seconds > 0, toNullable(toDecimal128(observed_seconds * 100, 12) / expected_seconds), NULL), recorded_at
) AS observed_pct
FROM coverage_hourly
WHERE recorded_at <= until AND period_start >= first AND period_start < end
GROUP BY period_start, cluster
"""

_FIGURES = """
WITH {scope}
SELECT line, toUnixTimestamp(period_start) AS hour, used, subsidy != 0 AS credited, {columns}
FROM ({lines}) AS priced
LEFT JOIN ({coverage}) AS seen ON seen.period_start = priced.period_start AND seen.cluster = priced.cluster
"""


# ---- queries ---------------------------------------------------------------------------------------------------------

_HOURS = """
WITH {scope}
SELECT toUnixTimestamp(period_start), count() FROM charges WHERE booked_month = booked AND recorded_at <= until
GROUP BY period_start ORDER BY period_start
"""
_BOOKED = """
WITH {scope}
SELECT
    (SELECT toUnixTimestamp(min(recorded_at)) FROM charges WHERE booked_month = booked AND recorded_at <= until),
    (SELECT if(argMax(status, recorded_at) = 'closed', toUnixTimestamp(max(recorded_at)), 0)
     FROM billing_periods WHERE month = booked AND recorded_at <= until)
"""

# As values of Arrow, and as the text of CSV: no exponents, no separators, moments in ISO 8601.
_AS_VALUE: Mapping[Kind, str] = {"DateTime": "toDateTime64({}, 3, 'UTC')"}
_AS_TEXT: Mapping[Kind, str] = {
    "Decimal": "toString({})",
    "DateTime": "formatDateTime({}, '%Y-%m-%dT%H:%i:%SZ', 'UTC')",
}
_KINDS: Mapping[str, Kind] = {column.name: column.kind for column in COST_AND_USAGE} | {CREDIT: "Decimal"}


def hours(booked: Booked) -> str:
    """Query for each hour (Unix time) that something is booked of, and how many entries."""
    return _HOURS.format(scope=_scope(booked))


def period(booked: Booked) -> str:
    """Query for when the month was first booked in, and when it was closed (Unix times; 0 = not)."""
    return _BOOKED.format(scope=_scope(booked))


def identities(booked: Booked, first: datetime, end: datetime, *, as_text: bool) -> str:
    """Query for the lines with usage in [first, end): two rows of each, as Usage and as Credit, always in one order."""
    config = booked.config
    names = (
        _translated("operator", "cluster", {each.id: each.operator or each.id for each in config.cluster}),
        _translated("region", "cluster", {each.id: each.region or each.country for each in config.cluster}),
        _translated("recipient", "agreement", {each.id: each.recipient for each in config.agreement}),
        _translated("issuer", "programme", {each.id: each.name.get("en", each.id) for each in config.programme}),
    )
    return _IDENTITIES.format(
        scope=_scope(booked, first, end),
        names=", ".join(names),
        support=in_words(config),
        divided=_divided(config) or "0",
        columns=_terms(IDENTITIES, as_text),
        identity=", ".join(_IDENTITY),
        entries=_ENTRIES.format(line=_hash(*_IDENTITY)),
    )


def figures(booked: Booked, first: datetime, end: datetime, *, as_text: bool) -> str:
    """Query for the figures of these lines in each hour, in no order, and for CREDIT, the amount of the Credit row."""
    entries, divided = _ENTRIES.format(line=_hash(*_IDENTITY)), _divided(booked.config)
    lines = _LINES.format(entries=entries, origin="toFixedString('', 16)", which=f"NOT {divided or 0}")
    lines = _UNDIVIDED.format(lines=lines)
    if divided:
        shared = _LINES.format(entries=entries, origin=_ORIGIN, which=divided)
        lines += f" UNION ALL {_SHARES.format(lines=shared)}"
    return _FIGURES.format(
        scope=_scope(booked, first, end),
        columns=_terms(FIGURES | {CREDIT: "-subsidy"}, as_text),
        lines=lines,
        coverage=_COVERAGE,
    )


def _terms(terms: Mapping[str, str], as_text: bool) -> str:
    forms = _AS_TEXT if as_text else _AS_VALUE
    return ", ".join(f"{forms.get(_KINDS[name], '{}').format(term)} AS {name}" for name, term in terms.items())


def _scope(booked: Booked, first: datetime | None = None, end: datetime | None = None) -> str:
    """What the queries are about, under short names."""
    terms = {
        "booked": f"toDate({_literal(str(booked.month))})",
        "month_suffix": _literal(f"/{booked.month:%Y-%m}"),
        "booked_start": _hour(start_of(booked.month)),
        "booked_end": _hour(start_of(next_month(booked.month))),
        "until": f"fromUnixTimestamp64Milli({(booked.until - _EPOCH) // timedelta(milliseconds=1)}, 'UTC')",
    }
    if first is not None and end is not None:
        terms |= {"first": _hour(first), "end": _hour(end)}
    return ", ".join(f"{term} AS {name}" for name, term in terms.items())


def _hour(moment: datetime) -> str:
    return f"toDateTime({int(moment.timestamp())}, 'UTC')"


def _divided(config: Config) -> str:
    """Condition for lines of shared deployments; empty = there are none."""
    shared = [(each.cluster, each.id) for each in config.deployment if each.shared]
    return f"(cluster, deployment) IN ({', '.join(map(_literal, shared))})" if shared else ""


def _translated(name: str, column: str, names: Mapping[str, str]) -> str:
    """An expression that gives each id its name; one that is not known stays."""
    ids = names or {"": ""}
    return f"transform({column}, {_literal(list(ids))}, {_literal(list(ids.values()))}) AS {name}"


def _literal(value: str | Sequence[str]) -> str:
    return str(format_query_value(value))
