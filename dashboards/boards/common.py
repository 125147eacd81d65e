"""What several dashboards share: variables, filters, thresholds, pieces of SQL, and panels that stand on all of them.

Amounts are added up in the chosen currency only (variable `currency`); what is booked in another one is listed as such
(columns `currency` and `other`), never added and never dropped silently.
"""

from collections.abc import Mapping, Sequence

from dashboards.macros import quote
from dashboards.model import Annotation, Column, Grid, Kind, Level, Panel, RowLink, Threshold, Variable
from dashboards.units import AMOUNT_PER_HOUR, MOMENT, SECONDS, SHARE
from schemas.alert_rules import RULES
from schemas.config import Alerts
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


def figure_at(place: int) -> Grid:
    """Place of a figure in the strip on top, 0 to 7."""
    return Grid(3 * place, 0, 3, 4)


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


def observed_panel(panel_id: int, place: int, *filters: str) -> Panel:
    """Figure: share of device time that was measured. Filters: `cluster`, where the dashboard has that variable."""
    return Panel(
        id=panel_id,
        name="observed",
        kind=Kind.STAT,
        title=Text("Observed", "Observé"),
        description=Text(
            "Share of the device time in the range that was measured; of ranges of a day and more, in the hours that "
            "are settled. Below 99 % totals miss what was not seen: nothing is guessed. See coverage by cluster.",
            "Part du temps d’appareil de la période qui a été mesurée ; pour une période d’un jour et plus, dans les "
            "heures réglées. Sous 99 %, il manque aux totaux ce qui n’a pas été vu : rien n’est deviné. Voyez la "
            "couverture par grappe.",
        ),
        sql=f"{coverage(*filters)}SELECT if(sum(due) > 0, least(sum(seen) / sum(due), 1), NULL) AS value FROM coverage",
        grid=figure_at(place),
        unit=SHARE,
        thresholds=COVERED,
        empty=Text("Known after three whole minutes.", "Connu après trois minutes entières."),
        link=METERING_HEALTH,
    )


def newest_panel(panel_id: int, place: int, *filters: str) -> Panel:
    """Figure: age of the newest usage, and how many clusters are late. Filters: `cluster`, where it is a variable."""
    late = (
        f"concat(toString(countIf(age_s >= {SILENT_AFTER_S})), "
        f"{words(Text(' of ', ' sur '))}, toString(count()), {words(Text(' clusters late', ' grappes en retard'))})"
    )
    return Panel(
        id=panel_id,
        name="newest",
        kind=Kind.STAT,
        title=Text("Newest usage", "Dernier usage"),
        description=Text(
            f"Age of the newest usage that is in the figures, by now. Clusters of which nothing came for "
            f"{SILENT_AFTER_S} s are counted beside it; see freshness by cluster.",
            "Âge du dernier usage compris dans les chiffres, en ce moment. Les grappes dont rien n’est venu depuis "
            f"{SILENT_AFTER_S} s sont comptées à côté ; voyez la fraîcheur par grappe.",
        ),
        sql=f"""SELECT min(age_s) AS value, if(countIf(age_s >= {SILENT_AFTER_S}) = 0, '', {late}) AS note
FROM (
    SELECT dateDiff('millisecond', reached, now64(3)) / 1000 AS age_s
    FROM ({NEWEST_BY_CLUSTER}
    )
    WHERE {chosen(*filters)}
)
HAVING count() > 0""",
        grid=figure_at(place),
        unit=SECONDS,
        thresholds=FRESHNESS,
        bounded="now",
        empty=Text("No usage yet.", "Aucun usage pour l’instant."),
        link=METERING_HEALTH,
    )


def freshness_panel(panel_id: int, grid: Grid, *filters: str) -> Panel:
    """Per cluster: how old the newest usage is. A cluster that never sent anything is listed too."""
    return Panel(
        id=panel_id,
        name="freshness",
        kind=Kind.TABLE,
        title=Text("Freshness by cluster", "Fraîcheur par grappe"),
        description=Text(
            "Age of the newest usage of each cluster within seven days. Beyond "
            f"{SILENT_AFTER_S} s figures still miss that cluster: ask its operator whether exporters and collector "
            "run.",
            "Âge de l’usage le plus récent de chaque grappe depuis sept jours. Au-delà de "
            f"{SILENT_AFTER_S} s, il manque cette grappe aux chiffres : demandez à son exploitant si les exportateurs "
            "et le collecteur tournent.",
        ),
        sql=f"""SELECT if(c.name = '', c.id, c.name) AS cluster,
    if(n.cluster = '', NULL, n.reached) AS newest,
    if(n.cluster = '', NULL, dateDiff('millisecond', n.reached, now64(3)) / 1000) AS age_s
FROM (SELECT id, name FROM clusters FINAL WHERE {" AND ".join(only("id", name) for name in filters) or "1"}) AS c
LEFT JOIN ({NEWEST_BY_CLUSTER}
) AS n ON n.cluster = c.id
ORDER BY age_s DESC NULLS FIRST, cluster""",
        grid=grid,
        bounded="now",
        columns=(
            CLUSTER_COLUMN,
            Column("newest", Text("Newest usage", "Dernier usage"), MOMENT),
            Column("age_s", Text("Age", "Âge"), SECONDS, thresholds=FRESHNESS),
        ),
        empty=Text("No cluster is configured.", "Aucune grappe n’est configurée."),
    )


def closing_panel(panel_id: int, grid: Grid) -> Panel:
    """Up to when the figures are measured, settled, final, and closed."""
    return Panel(
        id=panel_id,
        name="closing",
        kind=Kind.TABLE,
        title=Text("Provisional until", "Provisoire jusqu’à"),
        description=Text(
            "Up to when figures are metered, settled (priced and capped from the whole hour), final (changed only by "
            "late data or a new rating, with a reason), and closed with their month. What is later than settled is "
            "counted before caps and may still change; quote only what is final.",
            "Jusqu’à quand les chiffres sont mesurés, réglés (tarifés et plafonnés sur l’heure entière), définitifs "
            "(modifiés seulement par des données tardives ou une nouvelle tarification, avec motif) et clos avec leur "
            "mois. Ce qui est plus récent que réglé compte avant plafonds et peut encore changer ; ne citez que le "
            "définitif.",
        ),
        sql=f"""WITH hours AS (
    SELECT period_start, argMax(status, (revision, recorded_at)) AS held FROM settlements
    GROUP BY period_start HAVING max(recorded_at) >= period_start + INTERVAL 1 HOUR
)
SELECT stage, upto
FROM (
    SELECT 1 AS place, 'metered' AS stage, max(reached) AS upto FROM ({NEWEST_BY_CLUSTER}
    )
    HAVING count() > 0
    UNION ALL
    SELECT 2 AS place, 'settled' AS stage, toDateTime64(max(period_start) + INTERVAL 1 HOUR, 3, 'UTC') AS upto
    FROM hours HAVING count() > 0
    UNION ALL
    SELECT 3 AS place, 'final' AS stage,
        toDateTime64(if(countIf(held != 'final') = 0, max(period_start) + INTERVAL 1 HOUR,
            minIf(period_start, held != 'final')), 3, 'UTC') AS upto
    FROM hours HAVING countIf(held = 'final') > 0
    UNION ALL
    SELECT 4 AS place, 'closed' AS stage, toDateTime64(max(month) + INTERVAL 1 MONTH, 3, 'UTC') AS upto
    FROM billing_periods WHERE status = 'closed' HAVING count() > 0
)
ORDER BY place""",
        grid=grid,
        bounded="now",
        columns=(
            Column(
                "stage",
                Text("Figures are", "Les chiffres sont"),
                words={
                    "metered": Text("metered", "mesurés"),
                    "settled": Text("settled, still provisional", "réglés, encore provisoires"),
                    "final": Text("final", "définitifs"),
                    "closed": Text("closed with their month", "clos avec leur mois"),
                },
                levels={"final": Level.GOOD, "closed": Level.GOOD},
            ),
            Column("upto", Text("Until", "Jusqu’à"), MOMENT),
        ),
        empty=Text("No usage yet.", "Aucun usage pour l’instant."),
    )


def _about(filters: Sequence[str]) -> str:
    """SQL condition on `alerts`: about what is chosen. An alert knows its agreement, and that its programme."""
    conditions = [only(name, name) for name in filters if name != "programme"]
    if "programme" in filters:
        members = "SELECT id FROM agreements FINAL WHERE programme IN (${programme:singlequote})"
        conditions.append(f"$__conditionalAll(agreement IN ({members}), $programme)")
    return " AND ".join(conditions) or "1"


def _by_rule(otherwise: str, of_rule: Mapping[str, str]) -> str:
    """SQL: an expression for each rule id."""
    ids = ", ".join(quote(rule) for rule in of_rule)
    return f"transform(rule, [{ids}], [{', '.join(of_rule.values())}], {otherwise})"


_IN_WORDS = (
    "if(${{lang:singlequote}} = 'fr' AND argMax(summary_fr, {newest}) != '', argMax(summary_fr, {newest}), "
    "argMax(summary, {newest}))"
)
_SEVERITY = Column(
    "level",
    Text("Severity", "Gravité"),
    words={
        "info": Text("info", "info"),
        "warning": Text("warning", "avertissement"),
        "critical": Text("critical", "critique"),
    },
    levels={"info": Level.PLAIN, "warning": Level.WATCH, "critical": Level.ACT},
)


def open_alerts_panel(panel_id: int, grid: Grid, *filters: str) -> Panel:
    """Alerts that fire at the end of the range, about what is chosen: programme, agreement, cluster, model."""
    explained_by = _by_rule(quote(METERING_HEALTH), {rule.id: quote(rule.dashboard) for rule in RULES})
    return Panel(
        id=panel_id,
        name="open-alerts",
        kind=Kind.TABLE,
        title=Text("Open alerts", "Alertes ouvertes"),
        description=Text(
            "Alerts about what is chosen that fire at the end of the range, the most severe and dearest first, with "
            "the money per hour that each concerns. Follow one to the dashboard that explains it, at its time. Each "
            "goes when its condition ends; none needs to be closed by hand.",
            "Alertes au sujet de ce qui est choisi, actives à la fin de la période, les plus graves et coûteuses "
            "d’abord, avec l’argent par heure que chacune concerne. Suivez-en une vers le tableau de bord qui "
            "l’explique, à son moment. Chacune disparaît avec sa cause ; aucune n’est à fermer à la main.",
        ),
        sql=f"""SELECT argMax(severity, ts) AS level,
    {_IN_WORDS.format(newest="ts")} AS what,
    argMax(subject, ts) AS about, argMax(at_stake_per_hour, ts) AS at_stake, argMax(a.currency, ts) AS stake_currency,
    starts_at, rule, {explained_by} AS explained_by,
    any(a.cluster) AS on_cluster, any(a.agreement) AS on_agreement, any(a.model) AS on_model,
    toUnixTimestamp64Milli(starts_at) - 3600000 AS from_ms,
    least(toUnixTimestamp64Milli(starts_at) + 3600000, toUnixTimestamp64Milli(now64(3))) AS to_ms
FROM alerts AS a FINAL
WHERE ts <= $__toTime AND {_about(filters)}
GROUP BY fingerprint, rule, starts_at
HAVING max(state = 'resolved') = 0
ORDER BY indexOf(['critical', 'warning', 'info'], level), at_stake DESC NULLS LAST, starts_at DESC, fingerprint
LIMIT 100""",
        grid=grid,
        bounded="end",
        limit=100,
        columns=(
            _SEVERITY,
            Column(
                "what",
                Text("What", "Quoi"),
                link=RowLink(
                    METERING_HEALTH,
                    {"cluster": "on_cluster", "agreement": "on_agreement", "model": "on_model"},
                    from_column="from_ms",
                    to_column="to_ms",
                    dashboard_column="explained_by",
                ),
            ),
            Column("about", Text("Subject", "Sujet")),
            Column("at_stake", Text("At stake", "En jeu"), AMOUNT_PER_HOUR),
            Column("stake_currency", Text("Currency", "Devise")),
            Column("starts_at", Text("Since", "Depuis"), MOMENT),
            Column("rule", Text("What to look at", "À regarder"), words={rule.id: rule.advice for rule in RULES}),
        ),
        empty=Text("No alert is open.", "Aucune alerte n’est ouverte."),
    )


def alert_annotation(explained_by: Sequence[str], *filters: str) -> Annotation:
    """Alerts as regions, those whose rules are explained by one of these dashboards; at most the latest 200."""
    title = _by_rule("rule", {rule.id: words(rule.title) for rule in RULES})
    rules = ", ".join(quote(rule.id) for rule in RULES if rule.dashboard in explained_by)
    return Annotation(
        "alerts",
        Text("Alerts", "Alertes"),
        Level.WATCH,
        f"""SELECT * FROM (
    SELECT starts_at AS time,
        ifNull(max(ends_at), least(now64(3), toDateTime64($__toTime, 3, 'UTC'))) AS timeEnd,
        concat({title}, ' · ', argMax(subject, ts)) AS title,
        {_IN_WORDS.format(newest="state = 'firing'")} AS text,
        concat('alert,', argMax(severity, ts)) AS tags
    FROM alerts FINAL
    WHERE starts_at <= $__toTime AND rule IN ({rules}) AND {_about(filters)}
    GROUP BY fingerprint, rule, starts_at
    HAVING timeEnd >= $__fromTime
    ORDER BY time DESC, title LIMIT 200
)
ORDER BY time, title""",
    )


_MOMENT_ONLY = "CAST(NULL AS Nullable(DateTime('UTC'))) AS timeEnd"


def price_annotation(*filters: str) -> Annotation:
    """Days from which another price holds. Filters: `cluster`, where the dashboard has that variable."""
    owned = Text("owned: purchase ", "en propriété : achat ")
    over, years = Text(" over ", " sur "), Text(" years", " ans")
    return Annotation(
        "prices",
        Text("Price changes", "Changements de prix"),
        Level.PLAIN,
        f"""SELECT toDateTime(effective_from, 'UTC') AS time, {_MOMENT_ONLY},
    concat({words(Text("Price from this day: ", "Prix à partir de ce jour : "))}, id) AS title,
    concat(cluster, ' · ', gpu_model, ' · ', if(basis = 'rented',
        concat(toString(ifNull(per_gpu_hour, 0)), ' ', currency, '/GPU-h'),
        concat({words(owned)}, toString(ifNull(capex, 0)), ' ', currency, {words(over)},
            toString(ifNull(lifetime_years, 0)), {words(years)}, ', ', toString(opex_per_gpu_hour), '/h, ',
            toString(energy_per_kwh), '/kWh'))) AS text,
    'price' AS tags
FROM prices FINAL
WHERE $__dateFilter(effective_from) AND {chosen(*filters)}
ORDER BY time, title
LIMIT 200""",
    )


def cap_annotation() -> Annotation:
    """Moments at which the cap of a chosen agreement became another one."""
    none = words(Text("no cap", "sans plafond"))
    return Annotation(
        "caps",
        Text("Changes of caps", "Changements de plafonds"),
        Level.GOOD,
        f"""SELECT recorded_at AS time, {_MOMENT_ONLY},
    concat({words(Text("Cap changed: ", "Plafond changé : "))}, id) AS title,
    concat(if(before = '', {none}, before), ' → ', if(cap = '', {none}, cap)) AS text, 'cap' AS tags
FROM (
    SELECT id, recorded_at, JSONExtractString(body, 'cap') AS cap,
        lagInFrame(JSONExtractString(body, 'cap')) OVER entry AS before, row_number() OVER entry AS number
    FROM reference_history
    WHERE section = 'agreement' AND NOT withdrawn AND {only("id", "agreement")}
        AND $__conditionalAll(JSONExtractString(body, 'programme') IN (${{programme:singlequote}}), $programme)
    WINDOW entry AS (PARTITION BY id ORDER BY recorded_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE number > 1 AND before != cap AND $__timeFilter(recorded_at)
ORDER BY time, title
LIMIT 200""",
    )
