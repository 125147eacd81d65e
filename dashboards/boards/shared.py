"""Panels and annotations that stand on several dashboards."""

from collections.abc import Mapping, Sequence

from dashboards.boards.common import (
    CLUSTER_COLUMN,
    COVERED,
    FRESHNESS,
    METERING_HEALTH,
    NEWEST_BY_CLUSTER,
    SILENT_AFTER_S,
    chosen,
    coverage,
    only,
    words,
)
from dashboards.macros import quote
from dashboards.model import Annotation, Column, Grid, Kind, Level, Panel, RowLink
from dashboards.units import AMOUNT_PER_HOUR, MOMENT, SECONDS, SHARE
from schemas.alert_rules import RULES
from schemas.texts import Text


def figure_at(place: int) -> Grid:
    """Place of a figure in the strip on top, 0 to 7."""
    return Grid(3 * place, 0, 3, 4)


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
