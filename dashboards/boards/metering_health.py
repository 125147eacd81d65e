"""Metering health: is everything measured, read and settled, so that the other dashboards can be believed?"""

from functools import partial

from dashboards.boards.common import (
    CLUSTER,
    CLUSTER_NAMES,
    COVERED,
    FRESHNESS,
    FRESHNESS_SQL,
    METERING_HEALTH,
    NEWEST_BY_CLUSTER,
    SEEN_BY_MINUTE,
    counted,
    coverage,
    only,
    words,
)
from dashboards.boards.defects import KINDS
from dashboards.boards.shared import (
    alert_annotation,
    figure_at,
    freshness_panel,
    newest_panel,
    observed_panel,
    open_alerts_panel,
)
from dashboards.macros import quote
from dashboards.model import Column, Dashboard, Grid, Kind, Level, Panel, RowLink, SeriesStyle, Threshold
from dashboards.units import COUNT, GPU_HOURS, HOURS, MESSAGES, MOMENT, SECONDS, SHARE
from schemas.alert_rules import RULES
from schemas.config_alerts import Alerts
from schemas.texts import Text

UID = METERING_HEALTH
_LAG_ABOVE_S = float(Alerts().lag_above)

_END = "least($__toTime, now())"
_OF_CLUSTER = only("cluster", "cluster")
_CLUSTER_TITLE = "if(cluster_name = '', cluster, cluster_name)"

_LATELY_MINUTES = 15


def _messages(most: str) -> str:
    """SQL: messages of the range, of so much time before its end at most, and how long each was on its way.

    They are kept for weeks, one for every scrape of every collector: a panel never reads them all. A message that came
    twice may count twice: setting that right takes ten times as long.
    """
    return f"""(
    SELECT splitByChar('/', shard)[1] AS cluster, stored_at,
        dateDiff('millisecond', ts_last, stored_at) / 1000 AS delay_s
    FROM telemetry_messages_store
    WHERE $__timeFilter(stored_at) AND stored_at >= {_END} - INTERVAL {most} AND fate = 'metered' AND {_OF_CLUSTER}
)"""


_OF_A_DAY = _messages("1 DAY")
_STEP = "least($__interval_s, 600)"
_STEP_OF = f"toStartOfInterval(stored_at, toIntervalSecond({_STEP}))"

_LAG = (
    Threshold(None, Level.GOOD, Text("at once", "aussitôt")),
    Threshold(_LAG_ABOVE_S / 2, Level.WATCH, Text("slow", "lent")),
    Threshold(_LAG_ABOVE_S, Level.ACT, Text("behind", "en retard")),
)


def _none_is_good(beyond: Text, act_at: float | None = None) -> tuple[Threshold, ...]:
    """Thresholds of a count that is best 0."""
    steps = (Threshold(None, Level.GOOD, Text("none", "aucun")), Threshold(1, Level.WATCH, beyond))
    return steps if act_at is None else (*steps, Threshold(act_at, Level.ACT, beyond))


_tile = partial(Panel, kind=Kind.STAT, bounded="end")

_TILES = (
    _tile(
        id=1,
        grid=figure_at(0),
        name="lag",
        title=Text("End-to-end delay", "Délai de bout en bout"),
        description=Text(
            f"From the reading at the exporter to the row in the book: 99 of 100 messages of the last "
            f"{_LATELY_MINUTES} minutes of the range arrived within this time. When it grows, see which cluster below: "
            "one is its collector or network, all is Kafka or the workers.",
            f"De la lecture chez l’exportateur à la ligne dans le livre : 99 messages sur 100 des {_LATELY_MINUTES} "
            "dernières minutes de la période sont arrivés dans ce délai. S’il grandit, voyez quelle grappe ci-dessous "
            ": une seule, c’est son collecteur ou son réseau ; toutes, c’est Kafka ou les ouvriers.",
        ),
        unit=SECONDS,
        thresholds=_LAG,
        sql=f"""SELECT quantileExact(0.99)(delay_s) AS value
FROM {_messages(f"{_LATELY_MINUTES} MINUTE")}
WHERE delay_s IS NOT NULL
HAVING count() > 0""",
        empty=Text(
            f"No message came in the last {_LATELY_MINUTES} minutes of the range.",
            f"Aucun message n’est venu dans les {_LATELY_MINUTES} dernières minutes de la période.",
        ),
    ),
    _tile(
        id=2,
        grid=figure_at(1),
        name="quarantined",
        title=Text("In quarantine", "En quarantaine"),
        description=Text(
            "Messages put aside until the end of the range that could not be read and have not been replayed yet. "
            "Mend what the reason says, then `commonwatt quarantine replay`: nothing of them is lost.",
            "Messages mis de côté jusqu’à la fin de la période, illisibles et pas encore rejoués. Corrigez ce que dit "
            "la raison, puis `commonwatt quarantine replay` : rien n’en est perdu.",
        ),
        unit=MESSAGES,
        thresholds=_none_is_good(Text("replay them", "à rejouer")),
        sql=f"SELECT countIf(replayed_at IS NULL) AS value FROM quarantine WHERE ts <= $__toTime AND {_OF_CLUSTER}",
    ),
    Panel(
        kind=Kind.STAT,
        id=3,
        grid=figure_at(2),
        name="defect-count",
        title=Text("Defects seen", "Défauts vus"),
        description=Text(
            "Things that were wrong with sources, readings and collectors in the range, each recorded once. They cost "
            "nothing that can be measured otherwise; see below what each kind asks for.",
            "Ce qui clochait chez les sources, les lectures et les collecteurs dans la période, chacun noté une fois. "
            "Ils ne coûtent rien qui se mesure autrement ; voyez ci-dessous ce que chaque sorte demande.",
        ),
        unit=COUNT,
        thresholds=_none_is_good(Text("see which", "voyez lesquels")),
        sql=f"""SELECT count() AS value,
    {counted("uniqExact(kind)", Text("kind", "sorte"), Text("kinds", "sortes"))} AS note
FROM data_quality FINAL WHERE $__timeFilter(ts) AND kind != 'target_up' AND {_OF_CLUSTER}""",
    ),
    _tile(
        id=4,
        grid=figure_at(3),
        name="open-alert-count",
        title=Text("Open alerts", "Alertes ouvertes"),
        description=Text(
            "Alerts that fire at the end of the range, of all dashboards, and how many of them are critical. The table "
            "at the bottom says what to look at.",
            "Alertes actives à la fin de la période, de tous les tableaux de bord, et combien sont critiques. Le "
            "tableau en bas dit quoi regarder.",
        ),
        unit=COUNT,
        thresholds=_none_is_good(Text("look at them", "à regarder")),
        sql=f"""SELECT count() AS value,
    if(countIf(level = 'critical') = 0, '',
        {counted("countIf(level = 'critical')", Text("critical", "critique"), Text("critical", "critiques"))}) AS note
FROM (
    SELECT argMax(severity, ts) AS level FROM alerts FINAL
    WHERE ts <= $__toTime AND {_OF_CLUSTER}
    GROUP BY fingerprint, starts_at
    HAVING max(state = 'resolved') = 0
)""",
    ),
    Panel(
        kind=Kind.STAT,
        id=5,
        grid=figure_at(4),
        name="late-rows",
        title=Text("Late rows", "Lignes tardives"),
        description=Text(
            "Rows of the ledger that samples brought late, out of quarantine, in the range, and the device time that "
            "they filled. Hours that they belong to are settled again, with the reason beside them.",
            "Lignes du livre que des mesures ont apportées en retard, de la quarantaine, dans la période, et le temps "
            "d’appareil qu’elles ont comblé. Leurs heures sont réglées de nouveau, la raison à côté.",
        ),
        unit=COUNT,
        sql=f"""SELECT count() AS value, if(value = 0, '',
    concat(toString(round(toFloat64(sum(gpu_seconds)) / 3600, 1)), ' GPU-h')) AS note
FROM gpu_usage_late FINAL WHERE $__timeFilter(recorded_at) AND {_OF_CLUSTER}""",
    ),
    _tile(
        id=6,
        grid=figure_at(5),
        name="unsettled",
        title=Text("Waiting to be settled", "En attente de règlement"),
        description=Text(
            "Hours with usage that have ended by the end of the range and are not settled: their cost is still that of "
            "the minutes. An hour is settled minutes after its end; when they pile up, see whether `commonwatt settle` "
            "runs.",
            "Heures avec usage finies à la fin de la période et pas encore réglées : leur coût est encore celui des "
            "minutes. Une heure est réglée quelques minutes après sa fin ; si elles s’accumulent, voyez si `commonwatt "
            "settle` tourne.",
        ),
        unit=HOURS,
        thresholds=(
            Threshold(None, Level.GOOD, Text("up to date", "à jour")),
            Threshold(2, Level.WATCH, Text("waiting", "en attente")),
            Threshold(24, Level.ACT, Text("not running", "à l’arrêt")),
        ),
        # First and newest minute come from the store: unit_costs would read the whole history for them.
        sql=f"""WITH
    (SELECT (min(minute), max(minute), count()) FROM unit_costs_store WHERE minute <= $__toTime) AS usage,
    (SELECT if(count() = 0, NULL, max(period_start) + INTERVAL 1 HOUR) FROM settlements
        WHERE period_start + INTERVAL 1 HOUR <= recorded_at AND recorded_at <= $__toTime) AS until,
    least(toStartOfHour({_END}), toStartOfHour(usage.2) + INTERVAL 1 HOUR) AS over
SELECT if(usage.3 = 0, NULL,
        greatest(0, dateDiff('hour', ifNull(until, toStartOfHour(usage.1)), over))) AS value,
    if(until IS NULL, '', concat({words(Text("settled until ", "réglé jusqu’au "))},
        formatDateTime(until, '%F %H:%i'))) AS note""",
        empty=Text("No usage yet.", "Aucun usage pour l’instant."),
    ),
    observed_panel(7, 6, "cluster"),
    newest_panel(8, 7, "cluster"),
)

_COVERAGE = Panel(
    id=9,
    name="coverage-by-cluster",
    kind=Kind.TABLE,
    title=Text("Coverage by cluster", "Couverture par grappe"),
    description=Text(
        "Share of each cluster's device time in the range that was measured, what is missing, and the age of its "
        "newest usage. What was not seen is never guessed: it is missing from every total. Ask the operator of the "
        "first line why; the defects below say when.",
        "Part du temps d’appareil de chaque grappe qui a été mesurée dans la période, ce qui manque, et l’âge de son "
        "dernier usage. Ce qui n’a pas été vu n’est jamais deviné : il manque à chaque total. Demandez pourquoi à "
        "l’exploitant de la première ligne ; les défauts ci-dessous disent quand.",
    ),
    sql=f"""{coverage("cluster")}SELECT k.title AS title, k.id AS cluster,
    if(v.due > 0, least(v.seen / v.due, 1), NULL) AS observed,
    if(v.due > 0, greatest(v.due - v.seen, 0) / 3600, NULL) AS missing_hours,
    if(n.cluster = '', NULL, dateDiff('millisecond', n.reached, now64(3)) / 1000) AS age_s
FROM (SELECT id, if(name = '', id, name) AS title FROM clusters FINAL WHERE {only("id", "cluster")}) AS k
LEFT JOIN coverage AS v ON v.cluster = k.id
LEFT JOIN ({NEWEST_BY_CLUSTER}
) AS n ON n.cluster = k.id
ORDER BY observed ASC NULLS FIRST, title""",
    grid=Grid(0, 4, 12, 9),
    columns=(
        Column("title", Text("Cluster", "Grappe"), link=RowLink(UID, {"cluster": "cluster"})),
        Column("observed", Text("Observed", "Observé"), SHARE, thresholds=COVERED, gauge=True),
        Column("missing_hours", Text("Missing", "Manque"), GPU_HOURS),
        Column("age_s", Text("Newest usage", "Dernier usage"), SECONDS, thresholds=FRESHNESS),
    ),
    empty=Text("No cluster is configured.", "Aucune grappe n’est configurée."),
)

_chart = partial(Panel, kind=Kind.TIMESERIES)

_HALF = Text("half of all", "la moitié de tous")
_99 = Text(" · 99 of 100", " · 99 sur 100")
_RULE_TITLES = (
    f"transform(rule, [{', '.join(quote(rule.id) for rule in RULES)}], "
    f"[{', '.join(words(rule.title) for rule in RULES)}], rule)"
)

_CHARTS = (
    _chart(
        id=11,
        grid=Grid(0, 13, 12, 9),
        name="coverage-over-time",
        title=Text("Coverage over time, by cluster", "Couverture dans le temps, par grappe"),
        description=Text(
            "Share of the device time of each hour that was measured; of long ranges, of settled hours. A dip of one "
            "cluster is its exporters or collector, a dip of all is here. Where it stays below 99 %, tell finance that "
            "the totals of that time are too low.",
            "Part du temps d’appareil de chaque heure qui a été mesurée ; pour une longue période, des heures réglées. "
            "Un creux d’une grappe vient de ses exportateurs ou de son collecteur, un creux de toutes vient d’ici. Si "
            "elle reste sous 99 %, dites aux finances que les totaux de ce temps sont trop bas.",
        ),
        unit=SHARE,
        thresholds=(
            Threshold(None, Level.PLAIN),
            Threshold(0.99, Level.GOOD, Text("complete", "complet")),
        ),
        threshold_lines=True,
        sql=f"""{coverage("cluster")}SELECT time, {_CLUSTER_TITLE} AS series, value
FROM (
    SELECT toDateTime(hour, 'UTC') AS time, cluster, least(seen / nullIf(most * due_minutes, 0), 1) AS value
    FROM hours WHERE due_minutes > 0
    UNION ALL
    SELECT $__timeInterval(period_start) AS time, cluster, least(sum(observed) / nullIf(sum(expected), 0), 1) AS value
    FROM (
        SELECT cluster, period_start, toFloat64(argMax(observed_seconds, recorded_at)) AS observed,
            toFloat64(argMax(expected_seconds, recorded_at)) AS expected
        FROM coverage_hourly
        WHERE NOT ({SEEN_BY_MINUTE}) AND $__timeFilter(period_start) AND {_OF_CLUSTER}
        GROUP BY cluster, period_start
    )
    GROUP BY time, cluster
) AS u LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = u.cluster
ORDER BY time, series""",
        empty=Text("Known after three whole minutes.", "Connu après trois minutes entières."),
    ),
    _chart(
        id=12,
        grid=Grid(12, 13, 12, 9),
        name="arrival-delay",
        title=Text("Arrival delay, by cluster", "Délai d’arrivée, par grappe"),
        description=Text(
            "Time from the newest reading in a message to its row in the book: what 99 of 100 messages of a cluster "
            "stay below, and half of all. Of the last day of the range. One cluster high: its collector or network. "
            "Below zero: its clock is ahead. All high: Kafka, the workers or ClickHouse.",
            "Temps de la dernière lecture d’un message à sa ligne dans le livre : ce que 99 messages sur 100 d’une "
            "grappe ne dépassent pas, et la moitié de tous. Du dernier jour de la période. Une seule grappe haute : "
            "son collecteur ou son réseau. Sous zéro : son horloge avance. Toutes : Kafka, les ouvriers ou ClickHouse.",
        ),
        unit=SECONDS,
        styles=(SeriesStyle(_HALF, dashed=True),),
        sql=f"""WITH delays AS (
    SELECT {_STEP_OF} AS time, cluster, delay_s FROM {_OF_A_DAY}
    WHERE delay_s IS NOT NULL
)
SELECT time, series, value
FROM (
    SELECT time, concat({_CLUSTER_TITLE}, {words(_99)}) AS series, value
    FROM (SELECT time, cluster, quantileExact(0.99)(delay_s) AS value FROM delays GROUP BY time, cluster) AS d
    LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = d.cluster
    UNION ALL
    SELECT time, {words(_HALF)} AS series, quantileExact(0.5)(delay_s) AS value FROM delays GROUP BY time
)
ORDER BY time, series""",
        empty=Text("No message came in this time.", "Aucun message n’est venu dans ce temps."),
    ),
    _chart(
        id=13,
        grid=Grid(0, 22, 12, 9),
        name="messages",
        title=Text("Messages per minute, by cluster", "Messages par minute, par grappe"),
        description=Text(
            "Telemetry messages that the workers took in, over whole intervals of the last day of the range. Steady "
            "is good: a drop is a collector that fell silent, a peak is one that caught up after an outage.",
            "Messages de télémétrie que les ouvriers ont pris en charge, sur des intervalles entiers du dernier jour "
            "de la période. Stable, c’est bien : une chute est un collecteur muet, une pointe en est un qui rattrape "
            "une panne.",
        ),
        unit=MESSAGES,
        sql=f"""SELECT time, {_CLUSTER_TITLE} AS series, value
FROM (
    SELECT {_STEP_OF} AS time, cluster, count() * 60 / {_STEP} AS value FROM {_OF_A_DAY}
    GROUP BY time, cluster
    HAVING time >= greatest($__fromTime, {_END} - INTERVAL 1 DAY) AND time + toIntervalSecond({_STEP}) <= {_END}
) AS m LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = m.cluster
ORDER BY time, series""",
        empty=Text("No whole interval with messages.", "Aucun intervalle entier avec des messages."),
    ),
    _chart(
        id=15,
        grid=Grid(0, 31, 12, 9),
        name="defects",
        title=Text("Defects, by kind", "Défauts, par sorte"),
        description=Text(
            "How many defects were seen in each interval, the kinds on top of each other, under the names that they "
            "have in table data_quality. Many of one kind at once: one cause; the newest are explained below.",
            "Combien de défauts ont été vus dans chaque intervalle, les sortes les unes sur les autres, sous leur nom "
            "dans la table data_quality. Beaucoup d’une sorte à la fois : une cause ; les derniers sont expliqués plus "
            "bas.",
        ),
        unit=COUNT,
        stacked=True,
        sql=f"""SELECT $__timeInterval(ts) AS time, kind AS series, count() AS value
FROM data_quality FINAL
WHERE $__timeFilter(ts) AND kind != 'target_up' AND {_OF_CLUSTER}
GROUP BY time, series
ORDER BY time, series""",
        empty=Text("No defect in this range.", "Aucun défaut dans cette période."),
    ),
    _chart(
        id=16,
        grid=Grid(12, 31, 12, 9),
        name="alerts-by-rule",
        title=Text("Alerts that began, by rule", "Alertes qui ont commencé, par règle"),
        description=Text(
            "How many alerts of each rule began in each interval, on top of each other. A rule that fires again and "
            "again has a cause that nobody mended, or a threshold that does not fit: set it in section [alerts].",
            "Combien d’alertes de chaque règle ont commencé dans chaque intervalle, les unes sur les autres. Une règle "
            "qui revient sans cesse a une cause que personne n’a réglée, ou un seuil qui ne convient pas : fixez-le "
            "dans la section [alerts].",
        ),
        unit=COUNT,
        stacked=True,
        sql=f"""SELECT $__timeInterval(starts_at) AS time, {_RULE_TITLES} AS series,
    uniqExact((fingerprint, starts_at)) AS value
FROM alerts
WHERE $__timeFilter(starts_at) AND {_OF_CLUSTER}
GROUP BY time, rule
ORDER BY time, series""",
        empty=Text("No alert began in this range.", "Aucune alerte n’a commencé dans cette période."),
    ),
)

_QUARANTINE = Panel(
    id=14,
    name="quarantine",
    kind=Kind.TABLE,
    title=Text("Quarantine, by reason", "Quarantaine, par raison"),
    description=Text(
        "Messages that could not be read, put aside until the end of the range; those that wait on top. Mend the "
        "reason, then replay them with `commonwatt quarantine replay`: their samples take the places that they "
        "belong to.",
        "Messages illisibles, mis de côté jusqu’à la fin de la période ; ceux qui attendent en tête. Corrigez la "
        "raison, puis rejouez-les par `commonwatt quarantine replay` : leurs mesures prennent leur place.",
    ),
    sql=f"""SELECT reason, topic, {_CLUSTER_TITLE} AS cluster_title, waiting, replayed, first_at, last_at
FROM (
    SELECT reason, topic, cluster, countIf(replayed_at IS NULL) AS waiting, count() - waiting AS replayed,
        min(ts) AS first_at, max(ts) AS last_at
    FROM quarantine
    WHERE ts <= $__toTime AND {_OF_CLUSTER}
    GROUP BY reason, topic, cluster
) AS q LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = q.cluster
ORDER BY waiting DESC, last_at DESC, reason, topic LIMIT 50""",
    grid=Grid(12, 22, 12, 9),
    bounded="end",
    limit=50,
    columns=(
        Column("waiting", Text("Waiting", "En attente"), MESSAGES, thresholds=_none_is_good(Text("replay", "rejouer"))),
        Column("replayed", Text("Replayed", "Rejoués"), MESSAGES),
        Column("reason", Text("Why", "Pourquoi")),
        Column("topic", Text("Topic", "Sujet Kafka")),
        Column("cluster_title", Text("Cluster", "Grappe"), words={"": Text("not said", "non dite")}),
        Column("first_at", Text("First", "Premier"), MOMENT),
        Column("last_at", Text("Last", "Dernier"), MOMENT),
    ),
    empty=Text("Every message could be read.", "Tous les messages ont pu être lus."),
)

_NEWEST_DEFECTS = Panel(
    id=17,
    name="newest-defects",
    kind=Kind.TABLE,
    title=Text("Defects, and what they ask for", "Défauts, et ce qu’ils demandent"),
    description=Text(
        "Defects of the last day of the range by kind and place, the newest on top, with how often they came and "
        "what the last one says. Nothing of it is hidden in the totals: what was not sound was left out of them.",
        "Défauts du dernier jour de la période par sorte et lieu, les derniers en tête, avec leur fréquence et ce que "
        "dit le dernier. Rien n’en est caché dans les totaux : ce qui n’était pas sain en a été écarté.",
    ),
    sql=f"""SELECT {_CLUSTER_TITLE} AS cluster_title, source, kind, times, last_at, subject, detail, kind AS meaning
FROM (
    SELECT cluster, source, kind, count() AS times, max(ts) AS last_at, argMax(d.subject, d.ts) AS subject,
        argMax(d.detail, d.ts) AS detail
    FROM data_quality AS d FINAL
    WHERE ts >= greatest($__fromTime, {_END} - INTERVAL 1 DAY) AND ts <= $__toTime AND {_OF_CLUSTER}
    GROUP BY cluster, source, kind
) AS d LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = d.cluster
ORDER BY last_at DESC, cluster, source, kind LIMIT 100""",
    grid=Grid(0, 40, 24, 10),
    bounded="end",
    limit=100,
    columns=(
        Column("last_at", Text("Last", "Dernier"), MOMENT),
        Column("cluster_title", Text("Cluster", "Grappe")),
        Column("kind", Text("Defect", "Défaut")),
        Column("times", Text("Times", "Fois"), COUNT),
        Column("source", Text("Where", "Où")),
        Column("subject", Text("About", "Au sujet de")),
        Column("detail", Text("What it says", "Ce qu’il dit")),
        Column("meaning", Text("What it asks for", "Ce qu’il demande"), words=KINDS),
    ),
    empty=Text("No defect in the last day of the range.", "Aucun défaut dans le dernier jour de la période."),
)

_SETTLEMENTS = Panel(
    id=18,
    name="settlements",
    kind=Kind.TABLE,
    title=Text("Settled hours", "Heures réglées"),
    description=Text(
        "How the hours of the range stand: a provisional one is priced again while usage or reference data change, a "
        "final one changes only by late data or a rerate, with the reason. Many revisions of late data: see which "
        "collector comes late, and why.",
        "Où en sont les heures de la période : une heure provisoire est recalculée tant que l’usage ou les données de "
        "référence changent, une heure finale ne change que par des données tardives ou un recalcul, avec la raison. "
        "Beaucoup de révisions pour données tardives : voyez quel collecteur est en retard, et pourquoi.",
    ),
    sql="""SELECT status, reason, count() AS hours, min(hour) AS first_hour, max(hour) AS last_hour,
    max(newest) AS newest_revision, max(at) AS last_at
FROM (
    SELECT period_start AS hour, argMax(s.status, (revision, recorded_at)) AS status,
        argMax(s.reason, (revision, recorded_at)) AS reason, max(revision) AS newest, max(recorded_at) AS at
    FROM settlements AS s
    WHERE $__timeFilter(period_start)
    GROUP BY period_start
)
GROUP BY status, reason
ORDER BY status DESC, hours DESC, reason LIMIT 50""",
    grid=Grid(0, 50, 24, 7),
    limit=50,
    columns=(
        Column(
            "status",
            Text("Status", "État"),
            words={"provisional": Text("provisional", "provisoire"), "final": Text("final", "final")},
            levels={"provisional": Level.PLAIN, "final": Level.GOOD},
        ),
        Column(
            "reason",
            Text("Why last", "Dernière raison"),
            words={"settled": Text("settled", "réglé"), "late data": Text("late data", "données tardives")},
        ),
        Column("hours", Text("Hours", "Heures"), COUNT),
        Column("first_hour", Text("First hour", "Première heure"), MOMENT),
        Column("last_hour", Text("Last hour", "Dernière heure"), MOMENT),
        Column("newest_revision", Text("Newest revision", "Dernière révision"), COUNT),
        Column("last_at", Text("Recorded", "Enregistré"), MOMENT),
    ),
    empty=Text("No hour of this range is settled yet.", "Aucune heure de cette période n’est encore réglée."),
)

DASHBOARD = Dashboard(
    uid=UID,
    title=Text("Metering health", "Santé de la mesure"),
    question=Text(
        "Is everything measured, read and settled, so that the figures can be believed?",
        "Tout est-il mesuré, lu et réglé, pour qu’on puisse croire aux chiffres ?",
    ),
    variables=(CLUSTER,),
    panels=tuple(
        sorted(
            (
                *_TILES,
                _COVERAGE,
                freshness_panel(10, Grid(12, 4, 12, 9), "cluster"),
                *_CHARTS,
                _QUARANTINE,
                _NEWEST_DEFECTS,
                _SETTLEMENTS,
                open_alerts_panel(19, Grid(0, 57, 24, 9), "cluster"),
            ),
            key=lambda panel: (panel.grid.y, panel.grid.x),
        )
    ),
    freshness_sql=FRESHNESS_SQL,
    annotations=(alert_annotation((UID,), "cluster"),),
    audience="operations",
)
