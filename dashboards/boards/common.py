"""What several dashboards share: variables, filters, thresholds, and pieces of SQL.

Amounts are added up in the chosen currency only (variable `currency`); what is booked in another one is listed as such
(columns `currency` and `other`), never added and never dropped silently.
"""

from collections.abc import Sequence

from dashboards.macros import quote
from dashboards.model import Column, Level, Threshold, Variable
from schemas.config_alerts import Alerts
from schemas.texts import Text

SUBSIDY_BURN = "cw-subsidy-burn"
AGREEMENT_DETAIL = "cw-agreement"
UNIT_ECONOMICS = "cw-unit-economics"
FLEET = "cw-fleet"
METERING_HEALTH = "cw-metering-health"

_DEFAULTS = Alerts()
TARGET_LOW = float(_DEFAULTS.cost_per_mtok_low)
TARGET_HIGH = float(_DEFAULTS.cost_per_mtok_high)
IDLE_BELOW = float(_DEFAULTS.idle_below)
IDLE_FOR_S = int(_DEFAULTS.idle_for)
SILENT_AFTER_S = int(_DEFAULTS.silent_after)


def words(text: Text) -> str:
    """SQL that yields a text in the dashboard's language."""
    return f"if(${{lang:singlequote}} = 'fr', {quote(text.of('fr'))}, {quote(text.en)})"


def counted(number: str, one: Text, many: Text) -> str:
    """SQL that yields a whole number and what it counts, in the dashboard's language."""
    single = f"{number} = 1 OR {number} = 0 AND ${{lang:singlequote}} = 'fr'"
    return f"concat(toString({number}), ' ', if({single}, {words(one)}, {words(many)}))"


def only(column: str, variable: str) -> str:
    """SQL condition: the column is among the chosen values of the variable, or All is chosen."""
    return f"$__conditionalAll({column} IN (${{{variable}:singlequote}}), ${variable})"


def chosen(*names: str) -> str:
    """SQL condition: columns that are named like variables have the values chosen for these."""
    return " AND ".join(only(name, name) for name in names) or "1"


def programme_name(otherwise: str) -> str:
    """SQL: the programme's name in the dashboard's language, from name_en and name_fr."""
    return f"if(${{lang:singlequote}} = 'fr' AND name_fr != '', name_fr, if(name_en = '', {otherwise}, name_en))"


IN_CURRENCY = "currency = ${currency:singlequote}"
"""SQL condition: booked in the chosen currency."""
CLUSTER_NAMES = "(SELECT id, if(name = '', id, name) AS cluster_name FROM clusters FINAL)"
"""SQL relation: `id` and `cluster_name`, what people call it."""

PROGRAMME = Variable(
    "programme",
    Text("Programme", "Programme"),
    f"SELECT id AS value, {programme_name('id')} AS text\nFROM programmes FINAL\nORDER BY text",
)
AGREEMENT = Variable(
    "agreement",
    Text("Agreement", "Entente"),
    f"SELECT id AS value, concat(recipient, ' · ', id) AS text\nFROM agreements FINAL\n"
    f"WHERE {only('programme', 'programme')}\nORDER BY text",
)
CLUSTER = Variable(
    "cluster",
    Text("Cluster", "Grappe"),
    "SELECT id AS value, if(name = '', id, name) AS text\nFROM clusters FINAL\nORDER BY text",
)

CURRENCY = Variable(
    "currency",
    Text("Currency", "Devise"),
    "SELECT DISTINCT currency AS value, currency AS text\nFROM programmes FINAL\nWHERE currency != ''\nORDER BY text",
    default="CAD",
)

# Costs as fine as the range allows: minutes, settled hours, or settled days, by the width of one point. A branch whose
# condition is false is not read at all.
_HOURS_FROM_S = 900
_DAYS_FROM_S = 43_200
MINUTES = f"$__interval_s < {_HOURS_FROM_S}"
"""SQL condition: the range is short enough for minutes, up to two days."""
HOURS = f"$__interval_s >= {_HOURS_FROM_S} AND $__interval_s < {_DAYS_FROM_S}"
DAYS = f"$__interval_s >= {_DAYS_FROM_S}"
_COSTS = (
    ("unit_costs", "minute", MINUTES, "$__timeFilter(minute)"),
    ("costs_hourly", "period_start", HOURS, "$__timeFilter(period_start)"),
    ("costs_daily", "toDateTime(day, 'UTC')", DAYS, "$__dateFilter(day)"),
)
COSTS_SPAN_S = f"if({MINUTES}, 60, if({HOURS}, 3600, 86400))"
"""SQL: seconds that one row of `costs` stands for."""
WHOLE_SPAN = f"at + toIntervalSecond({COSTS_SPAN_S}) <= now() - INTERVAL 15 SECOND"
"""SQL condition on rows of `costs`: their minute, hour or day is over, so that rates may be taken from it."""


def costs(columns: Sequence[str], *conditions: str) -> str:
    """SQL subquery: rows of costs in the range, with their moment as `at` and these columns of theirs.

    Columns and conditions are those that `unit_costs`, `costs_hourly` and `costs_daily` have in common.
    """
    branches = [
        f"    SELECT {moment} AS at, {', '.join(columns)} FROM {relation}\n"
        f"    WHERE {' AND '.join((fine, bounded, *conditions))}"
        for relation, moment, fine, bounded in _COSTS
    ]
    return "(\n" + "\n    UNION ALL\n".join(branches) + "\n)"


# Totals have no points: of a day and more they come from hours, and from minutes where a range begins and ends.
_BY_HOUR = f"$__interval_s >= 300 AND {MINUTES}"
_FIRST_HOUR, _LAST_HOUR = "toStartOfHour($__fromTime + INTERVAL 3599 SECOND)", "toStartOfHour($__toTime)"


def totals(columns: Sequence[str], *conditions: str) -> str:
    """SQL subquery: rows of costs in the range, as few as a total needs. For columns and conditions see `costs`."""
    names, chosen_only = ", ".join(columns), "".join(f" AND {condition}" for condition in conditions)
    return f"""(
    SELECT {names} FROM {costs(columns, f"NOT ({_BY_HOUR})", *conditions)}
    UNION ALL
    SELECT {names} FROM costs_hourly
    WHERE {_BY_HOUR} AND period_start >= {_FIRST_HOUR} AND period_start < {_LAST_HOUR}{chosen_only}
    UNION ALL
    SELECT {names} FROM unit_costs
    WHERE {_BY_HOUR} AND $__timeFilter(minute) AND (minute < {_FIRST_HOUR} OR minute >= {_LAST_HOUR}){chosen_only}
)"""


def per_second(amount: str) -> str:
    """SQL over rows of `costs`: a sum such as `sum(cost)` per second of the minutes, hours or days that have rows."""
    return f"toFloat64({amount}) / nullIf(uniqExact(at) * {COSTS_SPAN_S}, 0)"


def ratio(over: str, below: str, factor: str = "") -> str:
    """SQL: one sum divided by another; null where there is nothing to divide by."""
    return f"toFloat64(sum({over})){factor} / nullIf(toFloat64(sum({below})), 0)"


SERVES = "model != ''"
"""SQL condition: the work serves a model."""
MODEL = Variable(
    "model",
    Text("Model", "Modèle"),
    f"SELECT DISTINCT model AS value, model AS text\nFROM {costs(['model'], SERVES)}\nORDER BY text",
)

# Usage is known up to here: the ledger of the last minutes to the millisecond, that of the last hours to the minute,
# that of the last week to the hour. A maximum needs no FINAL, and its views would cost one.
NEWEST_BY_CLUSTER = """
    SELECT cluster, max(upto) AS reached
    FROM (
        SELECT cluster, max(ts_end) AS upto FROM gpu_usage_store
        WHERE ts_start >= now() - INTERVAL 10 MINUTE AND ts_end > ts_start GROUP BY cluster
        UNION ALL
        SELECT cluster, toDateTime64(max(minute), 3, 'UTC') AS upto FROM unit_costs_store
        WHERE minute >= now() - INTERVAL 6 HOUR GROUP BY cluster
        UNION ALL
        SELECT cluster, toDateTime64(max(period_start) + INTERVAL 1 HOUR, 3, 'UTC') AS upto FROM coverage_hourly
        WHERE period_start >= now() - INTERVAL 7 DAY AND observed_seconds > 0
            AND period_start < now() - INTERVAL 7 HOUR GROUP BY cluster
    )
    GROUP BY cluster"""

FRESHNESS_SQL = f"""SELECT max(reached) AS newest, dateDiff('millisecond', newest, now64(3)) / 1000 AS age_s
FROM ({NEWEST_BY_CLUSTER}
)
HAVING count() > 0"""

FRESHNESS = (
    Threshold(None, Level.GOOD, Text("live", "en direct")),
    Threshold(SILENT_AFTER_S, Level.WATCH, Text("late", "en retard")),
    Threshold(5 * SILENT_AFTER_S, Level.ACT, Text("stale", "périmé")),
)
COVERED = (
    Threshold(None, Level.ACT, Text("incomplete", "incomplet")),
    Threshold(0.95, Level.WATCH, Text("gaps", "lacunes")),
    Threshold(0.99, Level.GOOD, Text("complete", "complet")),
)

CLUSTER_COLUMN = Column("cluster", Text("Cluster", "Grappe"))

SEEN_BY_MINUTE = "$__interval_s < 300"
"""SQL condition: coverage is found from minutes, else from settled hours."""


# Of ranges of hours from minutes: for each hour, the most devices seen in one of its minutes are due for all of it;
# hours without any observation count like the average of the others. The first minute (metering may have begun within
# it) and the newest (still open) are left out. Of longer ranges from what settled hours recorded.
def coverage(*filters: str) -> str:
    """SQL: `WITH … coverage`, rows of (cluster, seen, due): device time in the range, s. Filters: variables to heed."""
    return f"""WITH minutes AS (
    SELECT cluster, minute, seconds, min(minute) OVER (PARTITION BY cluster) + INTERVAL 1 MINUTE AS first
    FROM (
        SELECT cluster, minute, toFloat64(sum(gpu_seconds)) AS seconds FROM unit_costs
        WHERE {SEEN_BY_MINUTE} AND $__timeFilter(minute) AND {chosen(*filters)} GROUP BY cluster, minute
    )
), hours AS (
    SELECT cluster, toStartOfHour(minute) AS hour, any(first) AS begin,
        toStartOfMinute(least($__toTime, now() - INTERVAL 1 MINUTE)) AS last,
        sum(seconds) AS seen, max(seconds) AS most,
        dateDiff('minute', greatest(hour, begin), least(hour + INTERVAL 1 HOUR, last)) AS due_minutes
    FROM minutes
    WHERE minute >= first AND minute < last
    GROUP BY cluster, hour
), coverage AS (
    SELECT cluster, sum(seen) AS seen,
        sum(most * due_minutes) * dateDiff('minute', any(begin), any(last)) / sum(due_minutes) AS due
    FROM hours GROUP BY cluster
    UNION ALL
    SELECT cluster, sum(observed) AS seen, sum(expected) AS due
    FROM (
        SELECT cluster, period_start, toFloat64(argMax(observed_seconds, recorded_at)) AS observed,
            toFloat64(argMax(expected_seconds, recorded_at)) AS expected
        FROM coverage_hourly
        WHERE NOT ({SEEN_BY_MINUTE}) AND $__timeFilter(period_start) AND {chosen(*filters)}
        GROUP BY cluster, period_start
    )
    GROUP BY cluster
)
"""
