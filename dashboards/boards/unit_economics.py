"""Unit economics: what does a million tokens cost, where, and why? For finance and operators."""

# ruff: noqa: S608  (SQL put together from constants of these modules; values come in through macros.substitute alone)

from functools import partial

from dashboards.boards.common import (
    AGREEMENT,
    CLUSTER,
    CLUSTER_COLUMN,
    FRESHNESS,
    FRESHNESS_SQL,
    IDLE_BELOW,
    IDLE_FOR_S,
    MODEL,
    NEWEST_BY_CLUSTER,
    PROGRAMME,
    TARGET_HIGH,
    TARGET_LOW,
    only,
    words,
)
from dashboards.model import Column, Dashboard, Grid, Kind, Level, Panel, RowLink, Threshold
from dashboards.units import (
    AMOUNT,
    CAD,
    CAD_PER_HOUR,
    CAD_PER_MTOK,
    GPU_HOURS,
    JOULES_PER_TOKEN,
    SECONDS,
    SHARE,
    TOKENS,
    TOKENS_PER_SECOND,
    Text,
)

UID = "cw-unit-economics"
_BURN = "cw-subsidy-burn"

_FILTERS = " AND ".join(only(name, name) for name in ("programme", "agreement", "cluster", "model"))
_WHERE = f"WHERE $__timeFilter(minute) AND currency = 'CAD'\n    AND {_FILTERS}"
# Rates are over whole minutes: without the one that is still being filled, and without the first of the range, within
# which metering may have begun, unless there is no other. Ratios need no such care, both of their halves grow together.
_PAST = "minute < toStartOfMinute(now() - INTERVAL 15 SECOND)"
_FROM = f"""(
        SELECT if(max(minute) > min(minute), min(minute) + INTERVAL 1 MINUTE, min(minute)) FROM unit_costs
        WHERE $__timeFilter(minute) AND {_PAST}
    )"""
_CLOSED = f"{_WHERE}\n    AND {_PAST} AND minute >= {_FROM}"
_TOKENS = "(prompt_tokens + generation_tokens)"
_NO_MODEL = Text("no model", "aucun modèle")
_UNATTRIBUTED = Text("unattributed", "non attribué")
_CLUSTER_NAMES = "(SELECT id, if(name = '', id, name) AS cluster_name FROM clusters FINAL)"


def _ratio(over: str, below: str, factor: str = "") -> str:
    return f"toFloat64(sum({over})){factor} / nullIf(toFloat64(sum({below})), 0)"


_COST_PER_MTOK = _ratio("cost", _TOKENS, " * 1e6")
_J_PER_TOKEN = _ratio("energy_j", _TOKENS)

_TARGET = (
    Threshold(None, Level.GOOD, Text("below target", "sous la cible")),
    Threshold(TARGET_LOW, Level.GOOD, Text("on target", "dans la cible")),
    Threshold(TARGET_HIGH, Level.WATCH, Text("above target", "au-dessus de la cible")),
)
_COVERED = (
    Threshold(None, Level.ACT, Text("incomplete", "incomplet")),
    Threshold(0.95, Level.WATCH, Text("gaps", "lacunes")),
    Threshold(0.99, Level.GOOD, Text("complete", "complet")),
)

# Observed device time against the time due: for each hour, the most devices seen in one of its minutes, for the whole
# hour; hours without any observation count like the average of the others. The first minute (metering may have begun
# within it) and the newest (still open) are left out.
_COVERAGE = f"""WITH minutes AS (
    SELECT cluster, minute, toFloat64(sum(gpu_seconds)) AS seconds FROM unit_costs
    WHERE $__timeFilter(minute) AND {only("cluster", "cluster")} GROUP BY cluster, minute
), bounds AS (
    SELECT cluster, min(minute) + INTERVAL 1 MINUTE AS first,
        toStartOfMinute(least($__toTime, now() - INTERVAL 1 MINUTE)) AS last
    FROM minutes GROUP BY cluster
), hours AS (
    SELECT cluster, toStartOfHour(minute) AS hour, any(first) AS first, any(last) AS last,
        sum(seconds) AS seen, max(seconds) AS most,
        dateDiff('minute', greatest(hour, first), least(hour + INTERVAL 1 HOUR, last)) AS due_minutes
    FROM minutes INNER JOIN bounds ON bounds.cluster = minutes.cluster
    WHERE minute >= bounds.first AND minute < bounds.last
    GROUP BY cluster, hour
), coverage AS (
    SELECT cluster, sum(seen) AS seen,
        sum(most * due_minutes) * dateDiff('minute', any(first), any(last)) / sum(due_minutes) AS due
    FROM hours GROUP BY cluster
)
"""


_tile = partial(Panel, kind=Kind.STAT)

_TILES = (
    _tile(
        id=1,
        grid=Grid(0, 0, 4, 4),
        name="cost-per-mtok",
        title=Text("Cost per 1M tokens", "Coût par million de jetons"),
        description=Text(
            "Cost of all devices that serve models, idle moments included, per million prompt and output tokens. "
            f"The national target is {TARGET_LOW:.2f} to {TARGET_HIGH:.2f} CAD. Above it: find the model or cluster "
            "below.",
            "Coût de tous les appareils qui servent des modèles, moments inactifs compris, par million de jetons "
            f"d’entrée et de sortie. La cible nationale est de {TARGET_LOW:.2f} à {TARGET_HIGH:.2f} CAD. Au-dessus : "
            "cherchez le modèle ou la grappe ci-dessous.",
        ),
        unit=CAD_PER_MTOK,
        thresholds=_TARGET,
        sql=f"SELECT {_COST_PER_MTOK} AS value\nFROM unit_costs\n{_WHERE} AND model != ''",
        empty=Text("No tokens in this range yet.", "Aucun jeton dans cette période pour l’instant."),
    ),
    _tile(
        id=2,
        grid=Grid(4, 0, 4, 4),
        name="energy-per-token",
        title=Text("Energy per token", "Énergie par jeton"),
        description=Text(
            "GPU energy per prompt and output token of work that serves models; the building is not included. "
            "It rises when replicas idle: compare with the busy share.",
            "Énergie des GPU par jeton d’entrée et de sortie des travaux qui servent des modèles ; le bâtiment n’est "
            "pas compris. Elle monte quand des répliques chôment : comparez au taux d’occupation.",
        ),
        unit=JOULES_PER_TOKEN,
        sql=f"SELECT {_J_PER_TOKEN} AS value\nFROM unit_costs\n{_WHERE} AND model != ''",
        empty=Text("No tokens in this range yet.", "Aucun jeton dans cette période pour l’instant."),
    ),
    _tile(
        id=3,
        grid=Grid(8, 0, 4, 4),
        name="tokens-per-second",
        title=Text("Tokens per second", "Jetons par seconde"),
        description=Text(
            "Prompt and output tokens per second, averaged over the complete minutes of the range.",
            "Jetons d’entrée et de sortie par seconde, en moyenne sur les minutes complètes de la période.",
        ),
        unit=TOKENS_PER_SECOND,
        sql=f"SELECT sum({_TOKENS}) / nullIf(uniqExact(minute) * 60, 0) AS value\nFROM unit_costs\n{_CLOSED}",
    ),
    _tile(
        id=4,
        grid=Grid(12, 0, 4, 4),
        name="cost-per-hour",
        title=Text("Cost per hour", "Coût par heure"),
        description=Text(
            "Cost of all chosen devices per hour, averaged over the complete minutes of the range. "
            "It changes with the fleet and its prices, not with how busy it is.",
            "Coût de tous les appareils choisis par heure, en moyenne sur les minutes complètes de la période. "
            "Il change avec le parc et ses prix, non avec son occupation.",
        ),
        unit=CAD_PER_HOUR,
        sql=f"SELECT toFloat64(sum(cost)) * 60 / nullIf(uniqExact(minute), 0) AS value\nFROM unit_costs\n{_CLOSED}",
        link=_BURN,
    ),
    _tile(
        id=5,
        grid=Grid(16, 0, 4, 4),
        name="busy-share",
        title=Text("Busy share", "Taux d’occupation"),
        description=Text(
            "Share of the device time during which the compute engine was active. Cost is charged on allocated time, "
            "so a low share makes every token dear: give idle devices back.",
            "Part du temps d’appareil où le moteur de calcul était actif. Le coût porte sur le temps alloué : un taux "
            "faible renchérit chaque jeton. Rendez les appareils inactifs.",
        ),
        unit=SHARE,
        sql=f"SELECT {_ratio('busy_seconds', 'gpu_seconds')} AS value\nFROM unit_costs\n{_WHERE}",
    ),
    _tile(
        id=6,
        grid=Grid(20, 0, 4, 4),
        name="coverage",
        title=Text("Observed", "Observé"),
        description=Text(
            "Share of the device time of the chosen clusters that was measured in the range. Below 99 % totals miss "
            "what was not seen: nothing is guessed. See coverage by cluster.",
            "Part du temps d’appareil des grappes choisies qui a été mesurée dans la période. Sous 99 %, il manque aux "
            "totaux ce qui n’a pas été vu : rien n’est deviné. Voyez la couverture par grappe.",
        ),
        unit=SHARE,
        thresholds=_COVERED,
        sql=f"{_COVERAGE}SELECT if(sum(due) > 0, least(sum(seen) / sum(due), 1), NULL) AS value FROM coverage",
        empty=Text("Known after three whole minutes.", "Connu après trois minutes entières."),
    ),
)


def _by(label: str, value: str, where: str) -> str:
    """SQL of a time series over unit_costs, one line per label."""
    return f"""SELECT $__timeInterval(minute) AS time, {label} AS series, {value} AS value
FROM unit_costs AS u LEFT JOIN {_CLUSTER_NAMES} AS c ON c.id = u.cluster
{where}
GROUP BY time, series
HAVING value IS NOT NULL
ORDER BY time, series"""


_chart = partial(Panel, kind=Kind.TIMESERIES)

_BY_CLUSTER = "if(cluster_name = '', cluster, cluster_name)"
_BY_MODEL = "concat(model, ' · ', cluster)"
_PER_HOUR = "toFloat64(sum({})) * 60 / uniqExact(minute)"

_CHARTS = (
    _chart(
        id=7,
        grid=Grid(0, 4, 12, 9),
        sql=_by(_BY_MODEL, _COST_PER_MTOK, f"{_WHERE} AND model != ''"),
        name="cost-per-mtok-by-model",
        title=Text("Cost per 1M tokens, by model and cluster", "Coût par million de jetons, par modèle et grappe"),
        description=Text(
            f"Against the target band of {TARGET_LOW:.2f} to {TARGET_HIGH:.2f} CAD; logarithmic. A line above the "
            "band: more load, fewer replicas, or another cluster.",
            f"Face à la cible de {TARGET_LOW:.2f} à {TARGET_HIGH:.2f} CAD ; échelle logarithmique. Une courbe "
            "au-dessus : plus de charge, moins de répliques, ou une autre grappe.",
        ),
        unit=CAD_PER_MTOK,
        thresholds=(
            Threshold(None, Level.PLAIN),
            Threshold(TARGET_LOW, Level.GOOD, Text("target", "cible")),
            Threshold(TARGET_HIGH, Level.PLAIN),
        ),
        threshold_lines=True,
        log_scale=True,
    ),
    _chart(
        id=8,
        grid=Grid(12, 4, 12, 9),
        sql=_by(_BY_MODEL, _J_PER_TOKEN, f"{_WHERE} AND model != ''"),
        name="energy-by-model",
        title=Text("GPU energy per token, by model and cluster", "Énergie GPU par jeton, par modèle et grappe"),
        description=Text(
            "Joules of GPU energy per prompt and output token; logarithmic. A model that differs between clusters "
            "runs on older devices, or with less load, on one of them.",
            "Joules d’énergie GPU par jeton d’entrée et de sortie ; échelle logarithmique. Un modèle qui diffère "
            "entre grappes tourne sur des appareils plus anciens, ou moins chargés, sur l’une d’elles.",
        ),
        unit=JOULES_PER_TOKEN,
        log_scale=True,
    ),
    _chart(
        id=9,
        grid=Grid(0, 13, 8, 10),
        sql=_by(_BY_CLUSTER, _PER_HOUR.format("cost"), _CLOSED),
        name="cost-by-cluster",
        title=Text("Cost per hour, by cluster", "Coût par heure, par grappe"),
        description=Text(
            "Cost of the chosen work per hour, over the minutes that were observed. A drop to less than before, "
            "without fewer devices, is a price change.",
            "Coût des travaux choisis par heure, sur les minutes observées. Une baisse sans moins d’appareils est un "
            "changement de prix.",
        ),
        unit=CAD_PER_HOUR,
    ),
    _chart(
        id=10,
        grid=Grid(8, 13, 8, 10),
        sql=_by(_BY_CLUSTER, _PER_HOUR.format("subsidy"), _CLOSED),
        name="subsidy-by-cluster",
        title=Text("Subsidy per hour, by cluster", "Subvention par heure, par grappe"),
        description=Text(
            "The programmes' part of that cost, before caps. Compare with the cost beside it.",
            "La part des programmes dans ce coût, avant plafonds. Comparez au coût à côté.",
        ),
        unit=CAD_PER_HOUR,
        link=_BURN,
    ),
    _chart(
        id=11,
        grid=Grid(16, 13, 8, 10),
        sql=_by("model", f"sum({_TOKENS}) / (60 * uniqExact(minute))", f"{_CLOSED} AND model != ''"),
        name="tokens-by-model",
        title=Text("Tokens per second, by model", "Jetons par seconde, par modèle"),
        description=Text(
            "Prompt and output tokens, all clusters together. When it falls while cost stays, cost per token rises.",
            "Jetons d’entrée et de sortie, toutes grappes confondues. Quand il baisse et que le coût reste, le coût "
            "par jeton monte.",
        ),
        unit=TOKENS_PER_SECOND,
    ),
)

_COSTS = Panel(
    id=12,
    name="costs",
    kind=Kind.TABLE,
    title=Text("Cost by cluster, model and agreement", "Coût par grappe, modèle et entente"),
    description=Text(
        "Totals of the range, dearest first. Cost counts allocated time and adds up to the bill; usage cost is its "
        "busy part. A wide gap between the two is money for idle devices.",
        "Totaux de la période, les plus chers d’abord. Le coût compte le temps alloué et égale la facture ; le coût "
        "d’usage en est la part occupée. Un grand écart entre les deux est de l’argent pour des appareils inactifs.",
    ),
    sql=f"""SELECT {_BY_CLUSTER} AS cluster_title, if(model = '', {words(_NO_MODEL)}, model) AS model_title,
    if(agreement = '', {words(_UNATTRIBUTED)}, agreement) AS agreement_title, agreement,
    sum(gpu_seconds) / 3600 AS gpu_hours, sum({_TOKENS}) AS tokens, sum(u.cost) AS total, sum(usage_cost) AS used,
    sum(u.subsidy) AS paid, {_ratio("cost", _TOKENS, " * 1e6")} AS per_mtok,
    {_ratio("cost", "generation_tokens", " * 1e6")} AS per_mtok_output, {_J_PER_TOKEN} AS j_per_token,
    {_ratio("busy_seconds", "gpu_seconds")} AS busy
FROM unit_costs AS u LEFT JOIN {_CLUSTER_NAMES} AS c ON c.id = u.cluster
{_WHERE}
GROUP BY u.cluster, cluster_name, model, agreement
ORDER BY total DESC, cluster_title, model_title, agreement LIMIT 200""",
    grid=Grid(0, 23, 24, 11),
    limit=200,
    columns=(
        Column("cluster_title", Text("Cluster", "Grappe")),
        Column("model_title", Text("Model", "Modèle")),
        Column("agreement_title", Text("Agreement", "Entente"), link=RowLink(_BURN, "agreement", "agreement")),
        Column("gpu_hours", Text("Device time", "Temps d’appareil"), GPU_HOURS),
        Column("tokens", Text("Prompt and output", "Entrée et sortie"), TOKENS),
        Column("total", Text("Cost", "Coût"), CAD),
        Column("used", Text("Usage cost", "Coût d’usage"), CAD),
        Column("paid", Text("Subsidy", "Subvention"), CAD),
        Column("per_mtok", Text("Per 1M tokens", "Par million"), CAD_PER_MTOK, thresholds=_TARGET),
        Column("per_mtok_output", Text("Per 1M output", "Par million (sortie)"), CAD_PER_MTOK),
        Column("j_per_token", Text("Energy", "Énergie"), JOULES_PER_TOKEN),
        Column("busy", Text("Busy", "Occupé"), SHARE, gauge=True),
    ),
)

_IDLE = Panel(
    id=13,
    name="idle-devices",
    kind=Kind.TABLE,
    title=Text("Held, yet idle", "Réservés, mais inactifs"),
    description=Text(
        f"Devices that a workload held for {IDLE_FOR_S // 60} minutes or more in the last six hours of the range "
        f"while less than {IDLE_BELOW:.0%} busy, dearest first. Ask the holder to give them back.",
        f"Appareils qu’un travail a tenus {IDLE_FOR_S // 60} minutes ou plus dans les six dernières heures de la "
        f"période, occupés à moins de {IDLE_BELOW * 100:.0f} %, les plus chers d’abord. Demandez au détenteur de les "
        "rendre.",
    ),
    sql=f"""SELECT if(any(cluster_name) = '', u.cluster, any(cluster_name)) AS cluster_title, node,
    if(slice = '', device, concat(device, ' / ', slice)) AS device_title, workload,
    if(agreement = '', {words(_UNATTRIBUTED)}, agreement) AS agreement_title,
    sum(dateDiff('millisecond', ts_start, ts_end)) / 1000 AS held_s,
    {_ratio("busy_seconds", "busy_known_seconds")} AS busy, sum(u.cost) AS total, currency
FROM gpu_usage AS u LEFT JOIN {_CLUSTER_NAMES} AS c ON c.id = u.cluster
WHERE ts_start >= greatest($__fromTime, $__toTime - INTERVAL 6 HOUR) AND ts_start <= $__toTime
    AND workload != '' AND {only("cluster", "cluster")} AND {only("agreement", "agreement")}
GROUP BY u.cluster, node, device, slice, workload, agreement, currency
HAVING busy < {IDLE_BELOW} AND held_s >= {IDLE_FOR_S}
ORDER BY total DESC, u.cluster, device, slice LIMIT 50""",
    grid=Grid(0, 34, 14, 9),
    bounded="end",
    limit=50,
    columns=(
        Column("cluster_title", Text("Cluster", "Grappe")),
        Column("node", Text("Node", "Nœud")),
        Column("device_title", Text("Device", "Appareil")),
        Column("workload", Text("Held by", "Détenu par")),
        Column("agreement_title", Text("Agreement", "Entente")),
        Column("held_s", Text("Held for", "Durée"), SECONDS),
        Column("busy", Text("Busy", "Occupé"), SHARE),
        Column("currency", Text("Currency", "Devise")),
        Column("total", Text("Cost", "Coût"), AMOUNT),
    ),
    empty=Text(
        f"No device was held for {IDLE_FOR_S // 60} minutes without work.",
        f"Aucun appareil n’a été réservé {IDLE_FOR_S // 60} minutes sans travail.",
    ),
)

_COVERAGE_TABLE = Panel(
    id=14,
    name="coverage-by-cluster",
    kind=Kind.TABLE,
    title=Text("Coverage and freshness", "Couverture et fraîcheur"),
    description=Text(
        "Share of each cluster's device time that was measured in the range, age of its newest usage, and cost in "
        "other currencies, which the figures above do not include: add an exchange rate to include it.",
        "Part du temps d’appareil de chaque grappe mesurée dans la période, âge de son dernier usage, et coûts en "
        "d’autres devises, que les chiffres ci-dessus n’incluent pas : ajoutez un taux de change pour les inclure.",
    ),
    sql=f"""{_COVERAGE}SELECT if(c.name = '', c.id, c.name) AS cluster,
    if(v.due > 0, least(v.seen / v.due, 1), NULL) AS observed,
    if(n.cluster = '', NULL, dateDiff('millisecond', n.reached, now64(3)) / 1000) AS age_s, o.other AS other
FROM (SELECT id, name FROM clusters FINAL WHERE {only("id", "cluster")}) AS c
LEFT JOIN coverage AS v ON v.cluster = c.id
LEFT JOIN ({NEWEST_BY_CLUSTER}
) AS n ON n.cluster = c.id
LEFT JOIN (
    SELECT cluster, arrayStringConcat(groupArray(concat(toDecimalString(amount, 2), ' ', currency)), ', ') AS other
    FROM (
        SELECT cluster, currency, sum(cost) AS amount FROM unit_costs
        WHERE $__timeFilter(minute) AND currency != 'CAD' GROUP BY cluster, currency ORDER BY currency
    )
    GROUP BY cluster
) AS o ON o.cluster = c.id
ORDER BY observed ASC NULLS FIRST, cluster""",
    grid=Grid(14, 34, 10, 9),
    columns=(
        CLUSTER_COLUMN,
        Column("observed", Text("Observed", "Observé"), SHARE, thresholds=_COVERED, gauge=True),
        Column("age_s", Text("Newest usage", "Dernier usage"), SECONDS, thresholds=FRESHNESS),
        Column("other", Text("Other currencies", "Autres devises"), words={"": Text("none", "aucune")}),
    ),
    empty=Text("No cluster is configured.", "Aucune grappe n’est configurée."),
)

DASHBOARD = Dashboard(
    uid=UID,
    title=Text("Unit economics", "Coûts unitaires"),
    question=Text(
        "What does a million tokens cost, where, and why?",
        "Combien coûte un million de jetons, où, et pourquoi ?",
    ),
    variables=(PROGRAMME, AGREEMENT, CLUSTER, MODEL),
    panels=(*_TILES, *_CHARTS, _COSTS, _IDLE, _COVERAGE_TABLE),
    freshness_sql=FRESHNESS_SQL,
)
