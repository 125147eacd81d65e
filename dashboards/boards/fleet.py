"""Fleet operations: what do the devices do right now, and what is wrong? For operators."""

from functools import partial

from dashboards.boards.common import (
    AGREEMENT,
    AGREEMENT_DETAIL,
    CLUSTER,
    CLUSTER_NAMES,
    CURRENCY,
    FLEET,
    FRESHNESS_SQL,
    IDLE_BELOW,
    IDLE_FOR_S,
    IN_CURRENCY,
    METERING_HEALTH,
    MODEL,
    PROGRAMME,
    WHOLE_SPAN,
    chosen,
    costs,
    counted,
    only,
    per_second,
    ratio,
    words,
)
from dashboards.boards.defects import OF_DEVICES
from dashboards.boards.shared import alert_annotation, figure_at, newest_panel, observed_panel, open_alerts_panel
from dashboards.macros import quote
from dashboards.model import Column, Dashboard, Grid, Kind, Level, Panel, RowLink, Threshold
from dashboards.units import (
    AMOUNT_PER_HOUR,
    CELSIUS,
    COUNT,
    G_CO2E_PER_KWH,
    KG_CO2E,
    KG_CO2E_PER_HOUR,
    KILOWATTS,
    MOMENT,
    MONEY,
    MONEY_PER_HOUR,
    RATIO,
    SECONDS,
    SHARE,
)
from schemas.config_alerts import Alerts
from schemas.texts import Text

UID = FLEET
HOT_ABOVE_C = float(Alerts().hot_above_c)

_VARIABLES = ("programme", "agreement", "cluster", "model")
_FILTERS = chosen(*_VARIABLES)
# A row of the ledger knows its agreement and deployment; programme and model are theirs.
_HELD_FOR = f"""{only("cluster", "cluster")} AND {only("agreement", "agreement")}
        AND $__conditionalAll(
            agreement IN (SELECT id FROM agreements FINAL WHERE programme IN (${{programme:singlequote}})), $programme)
        AND $__conditionalAll(
            deployment IN (SELECT id FROM deployments FINAL WHERE model IN (${{model:singlequote}})), $model)"""

# Questions about single devices look at minutes before the end of the range, never at the range: there are thousands.
_END = "least($__toTime, now())"
_NOW_MINUTES, _LATELY_MINUTES = 5, 30
_NOW = f"INTERVAL {_NOW_MINUTES} MINUTE"
_LATELY = f"INTERVAL {_LATELY_MINUTES} MINUTE"

# What each device did in the newest minutes of the range. Its power is what was measured, in the time that it was.
_DEVICES = f"""WITH devices AS (
    SELECT cluster, device, toFloat64(sum(gpu_seconds)) AS seconds,
        toFloat64(sumIf(gpu_seconds, workload != '')) AS held, toFloat64(sum(busy_seconds)) AS busy,
        toFloat64(sum(busy_known_seconds)) AS busy_known,
        toFloat64(sum(energy_j)) / nullIf(toFloat64(sumIf(gpu_seconds, method != 'time')), 0) AS power_w
    FROM gpu_usage
    WHERE ts_start >= {_END} - {_NOW} AND ts_start <= {_END}
        AND {_HELD_FOR}
    GROUP BY cluster, device
)
"""
_SEEN_NOW = Text(
    f"No device was seen in the last {_NOW_MINUTES} minutes of the range.",
    f"Aucun appareil n’a été vu dans les {_NOW_MINUTES} dernières minutes de la période.",
)

# Who held which device lately, whether the engine did anything meanwhile, and what that costs an hour. Idle is what was
# held for long enough, did next to nothing, and is held still.
_HOLDERS = f"""WITH holders AS (
    SELECT cluster, any(node) AS on_node, device, slice, workload, agreement, currency,
        min(ts_start) AS since, max(ts_end) AS until,
        sum(dateDiff('millisecond', ts_start, ts_end)) / 1000 AS held_s,
        {ratio("busy_seconds", "busy_known_seconds")} AS busy,
        toFloat64(sum(cost)) * 3600 / held_s AS per_hour,
        workload != '' AND busy < {IDLE_BELOW} AND held_s >= {IDLE_FOR_S} AND until >= {_END} - {_NOW} AS idle
    FROM gpu_usage
    WHERE ts_start >= {_END} - {_LATELY} AND ts_start <= {_END}
        AND {_HELD_FOR}
    GROUP BY cluster, device, slice, workload, agreement, currency
)
"""


def _emissions(*conditions: str) -> str:
    """SQL: `WITH … emissions`, energy of each (minute, hour or day, cluster) in the range, and what it emitted, kg
    CO2e: energy x PUE of the cluster x intensity of its region on that day; null where one of them is not known."""
    return f"""WITH energies AS (
    SELECT at, toDate(at) AS day, cluster, toFloat64(sum(energy_j)) AS energy_j
    FROM {costs(("cluster", "energy_j"), _FILTERS)}
    WHERE {" AND ".join(conditions) or "1"}
    GROUP BY at, cluster
), emissions AS (
    SELECT at, cluster, title, energy_j, energy_j * pue AS facility_j, facility_j * g_per_kwh / 3.6e9 AS carbon_kg
    FROM (
        SELECT e.at AS at, e.day AS day, e.cluster AS cluster, e.energy_j AS energy_j,
            if(k.name = '', e.cluster, k.name) AS title, k.region AS region, k.pue AS pue
        FROM energies AS e
        LEFT JOIN (SELECT id, name, region, toFloat64(pue) AS pue FROM clusters FINAL) AS k ON k.id = e.cluster
    ) AS e
    ASOF LEFT JOIN (
        SELECT region, effective_from, toNullable(toFloat64(g_per_kwh)) AS g_per_kwh FROM carbon_intensity FINAL
    ) AS i ON i.region = e.region AND i.effective_from <= e.day
)
"""


def _digits(number: str, places: int) -> str:
    """SQL: a number as text, in the dashboard's language."""
    return f"replaceOne(toString(round({number}, {places})), '.', {words(Text('.', ','))})"


_ONE, _MANY = Text("cluster", "grappe"), Text("clusters", "grappes")

_HELD = (
    Threshold(None, Level.WATCH, Text("mostly free", "surtout libres")),
    Threshold(0.5, Level.GOOD, Text("held", "réservés")),
)
_BUSY = (
    Threshold(None, Level.WATCH, Text("mostly waiting", "surtout en attente")),
    Threshold(0.5, Level.GOOD, Text("at work", "au travail")),
)
_WASTE = (
    Threshold(None, Level.GOOD, Text("nothing idle", "rien d’inactif")),
    Threshold(0.005, Level.WATCH, Text("ask the holders", "demandez aux détenteurs")),
)
_HOT = (
    Threshold(None, Level.GOOD, Text("cool", "frais")),
    Threshold(HOT_ABOVE_C - 5, Level.WATCH, Text("warm", "chaud")),
    Threshold(HOT_ABOVE_C, Level.ACT, Text("too hot", "trop chaud")),
)

_tile = partial(Panel, kind=Kind.STAT, bounded="end", empty=_SEEN_NOW)

_TILES = (
    _tile(
        id=1,
        grid=figure_at(0),
        name="devices",
        title=Text("Devices seen", "Appareils vus"),
        description=Text(
            f"Devices that were measured in the last {_NOW_MINUTES} minutes of the range, and on how many clusters. "
            "Fewer than yesterday: see which cluster has lost some in the table of clusters, and its defects.",
            f"Appareils mesurés dans les {_NOW_MINUTES} dernières minutes de la période, et sur combien de grappes. "
            "Moins qu’hier : voyez quelle grappe en a perdu dans le tableau des grappes, et ses défauts.",
        ),
        unit=COUNT,
        sql=f"""{_DEVICES}SELECT count() AS value,
    {counted("uniqExact(cluster)", _ONE, _MANY)} AS note
FROM devices HAVING value > 0""",
    ),
    _tile(
        id=2,
        grid=figure_at(1),
        name="held-share",
        title=Text("Held", "Réservés"),
        description=Text(
            f"Share of the device time of the last {_NOW_MINUTES} minutes of the range that a workload held, whether "
            "it computed or not. Low: offer the devices to those who wait.",
            f"Part du temps d’appareil des {_NOW_MINUTES} dernières minutes de la période qu’un travail tenait, qu’il "
            "ait calculé ou non. Si elle est faible : offrez les appareils à ceux qui attendent.",
        ),
        unit=SHARE,
        thresholds=_HELD,
        sql=f"{_DEVICES}SELECT {ratio('held', 'seconds')} AS value FROM devices",
    ),
    _tile(
        id=3,
        grid=figure_at(2),
        name="busy-share",
        title=Text("Busy", "Occupés"),
        description=Text(
            f"Share of the device time of the last {_NOW_MINUTES} minutes of the range during which the compute engine "
            "was active, where that was measured. Far below what is held: see who holds idle devices.",
            f"Part du temps d’appareil des {_NOW_MINUTES} dernières minutes de la période où le moteur de calcul était "
            "actif, là où c’est mesuré. Bien en dessous du temps réservé : voyez qui tient des appareils inactifs.",
        ),
        unit=SHARE,
        thresholds=_BUSY,
        sql=f"{_DEVICES}SELECT {ratio('busy', 'busy_known')} AS value FROM devices",
    ),
    _tile(
        id=4,
        grid=figure_at(3),
        name="power",
        title=Text("Power", "Puissance"),
        description=Text(
            f"Power of the devices, averaged over the last {_NOW_MINUTES} minutes of the range. Beside it what the "
            "facilities draw for them, of the clusters whose PUE is known. Near a cap: see power by cluster.",
            f"Puissance des appareils, en moyenne sur les {_NOW_MINUTES} dernières minutes de la période. À côté, ce "
            "que les bâtiments tirent pour eux, pour les grappes au PUE connu. Près d’un plafond : voyez la puissance "
            "par grappe.",
        ),
        unit=KILOWATTS,
        sql=f"""{_DEVICES}SELECT value, note FROM (
SELECT sumOrNull(power_w) / 1000 AS value, uniqExactIf(cluster, pue IS NULL) AS unknown,
    concat({words(Text("facility ", "bâtiment "))},
        ifNull(concat({_digits("sumOrNull(power_w * pue) / 1000", 1)}, ' kW'), {words(Text("not known", "inconnu"))}),
        if(unknown = 0 OR sumOrNull(pue) IS NULL, '', concat({words(Text("; without ", " ; sans "))},
            {counted("unknown", _ONE, _MANY)}, {words(Text(" of unknown PUE", " au PUE inconnu"))}))) AS note
FROM devices LEFT JOIN (SELECT id, toFloat64(pue) AS pue FROM clusters FINAL) AS k ON k.id = devices.cluster
HAVING count() > 0
)""",
    ),
    _tile(
        id=5,
        grid=figure_at(4),
        name="idle-cost",
        title=Text("Held, yet idle", "Réservés, mais inactifs"),
        description=Text(
            f"What the devices cost an hour that a workload has held for {IDLE_FOR_S // 60} minutes or more, holds "
            f"still, and kept less than {IDLE_BELOW:.0%} busy in the last {_LATELY_MINUTES} minutes of the range. Ask "
            "the holders in the table below to give them back.",
            f"Coût par heure des appareils qu’un travail tient depuis {IDLE_FOR_S // 60} minutes ou plus, tient "
            f"encore, et a occupés à moins de {IDLE_BELOW * 100:.0f} % dans les {_LATELY_MINUTES} dernières minutes de "
            "la période. Demandez aux détenteurs du tableau ci-dessous de les rendre.",
        ),
        unit=MONEY_PER_HOUR,
        thresholds=_WASTE,
        sql=f"""{_HOLDERS}SELECT sumIf(amount, {IN_CURRENCY}) AS value,
    concat({counted("sum(devices)", Text("device", "appareil"), Text("devices", "appareils"))},
        arrayStringConcat(groupArrayIf(concat(' + ', {_digits("amount", 2)}, ' ', currency, '/h'),
            amount > 0 AND NOT ({IN_CURRENCY})))) AS note
FROM (
    SELECT currency, sumIf(per_hour, idle) AS amount, uniqExactIf((cluster, device), idle) AS devices
    FROM holders GROUP BY currency ORDER BY currency
)
HAVING count() > 0""",
    ),
    Panel(
        kind=Kind.STAT,
        id=6,
        grid=figure_at(5),
        name="carbon",
        title=Text("Emissions", "Émissions"),
        description=Text(
            "Greenhouse gases of the chosen work in the range: energy of the devices x PUE of their cluster x "
            "intensity of the electricity of its region on that day. What is not known is left out, and said. To lower "
            "it, move work to a region with cleaner electricity.",
            "Gaz à effet de serre des travaux choisis dans la période : énergie des appareils x PUE de leur grappe x "
            "intensité de l’électricité de sa région ce jour-là. Ce qui est inconnu est laissé de côté, et dit. Pour "
            "les réduire, déplacez du travail vers une région à l’électricité plus propre.",
        ),
        unit=KG_CO2E,
        sql=f"""{_emissions()}SELECT sumOrNull(carbon_kg) AS value,
    if(sumIf(energy_j, carbon_kg IS NULL) = 0, '', concat(
        {words(Text("without ", "sans "))}, {_digits("100 * sumIf(energy_j, carbon_kg IS NULL) / sum(energy_j)", 1)},
        {words(Text(" % of the energy: not known", " % de l’énergie : inconnu"))})) AS note
FROM emissions HAVING count() > 0""",
        empty=Text("No energy in this range yet.", "Aucune énergie dans cette période pour l’instant."),
    ),
    observed_panel(7, 6, "cluster"),
    newest_panel(8, 7, "cluster"),
)

_chart = partial(Panel, kind=Kind.TIMESERIES)
_CLUSTER_TITLE = "if(cluster_name = '', cluster, cluster_name)"

_CHARTS = (
    _chart(
        id=9,
        grid=Grid(0, 4, 12, 9),
        name="power-by-cluster",
        title=Text("Power by cluster", "Puissance par grappe"),
        description=Text(
            "Power of the devices of each cluster, on top of each other, from the energy of whole minutes, hours or "
            "days; the building is not included. A step without new work: look for devices that came back or left.",
            "Puissance des appareils de chaque grappe, les unes sur les autres, d’après l’énergie de minutes, heures "
            "ou jours entiers ; le bâtiment n’est pas compris. Une marche sans nouveau travail : cherchez des "
            "appareils revenus ou partis.",
        ),
        unit=KILOWATTS,
        stacked=True,
        sql=f"""{_emissions(WHOLE_SPAN)}SELECT $__timeInterval(at) AS time, any(title) AS series,
    {per_second("sum(energy_j)")} / 1000 AS value
FROM emissions GROUP BY time, cluster
ORDER BY time, series""",
    ),
    _chart(
        id=10,
        grid=Grid(12, 4, 12, 9),
        name="carbon-by-cluster",
        title=Text("Emissions by cluster", "Émissions par grappe"),
        description=Text(
            "Greenhouse gases per hour of the energy beside it, with PUE and the intensity of the region. Clusters of "
            "which one of them is not known have no line. A high line: that is where moving work helps most.",
            "Gaz à effet de serre par heure de l’énergie à côté, avec PUE et intensité de la région. Les grappes dont "
            "l’un est inconnu n’ont pas de courbe. Une courbe haute : c’est là que déplacer du travail aide le plus.",
        ),
        unit=KG_CO2E_PER_HOUR,
        sql=f"""{_emissions(WHOLE_SPAN)}SELECT $__timeInterval(at) AS time, any(title) AS series,
    {per_second("sum(carbon_kg)")} * 3600 AS value
FROM emissions GROUP BY time, cluster
HAVING value IS NOT NULL
ORDER BY time, series""",
        empty=Text(
            "No cluster with a known PUE and intensity used energy.",
            "Aucune grappe au PUE et à l’intensité connus n’a utilisé d’énergie.",
        ),
    ),
    _chart(
        id=11,
        grid=Grid(0, 13, 12, 9),
        name="busy-by-cluster",
        title=Text("Busy share, by cluster", "Taux d’occupation, par grappe"),
        description=Text(
            "Share of the device time of the chosen work during which the compute engine was active. A cluster that "
            "falls while it stays held waits for data, or its holders have gone home.",
            "Part du temps d’appareil des travaux choisis où le moteur de calcul était actif. Une grappe qui baisse "
            "tout en restant réservée attend des données, ou ses détenteurs sont partis.",
        ),
        unit=SHARE,
        sql=f"""SELECT time, {_CLUSTER_TITLE} AS series, value
FROM (
    SELECT $__timeInterval(at) AS time, cluster, {ratio("busy_seconds", "gpu_seconds")} AS value
    FROM {costs(("cluster", "busy_seconds", "gpu_seconds"), _FILTERS)}
    GROUP BY time, cluster
    HAVING value IS NOT NULL
) AS u LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = u.cluster
ORDER BY time, series""",
    ),
    _chart(
        id=12,
        grid=Grid(12, 13, 12, 9),
        name="held-by-cluster",
        title=Text("Held share, by cluster", "Part réservée, par grappe"),
        description=Text(
            "Share of the device time that a workload held, whoever it is, in hours that are settled. Well above the "
            "busy share beside it: devices are held for nothing. Low for days: fewer devices would do.",
            "Part du temps d’appareil qu’un travail tenait, quel qu’il soit, dans les heures réglées. Bien au-dessus "
            "du taux d’occupation à côté : des appareils sont tenus pour rien. Faible pendant des jours : moins "
            "d’appareils suffiraient.",
        ),
        unit=SHARE,
        sql=f"""SELECT time, {_CLUSTER_TITLE} AS series, value
FROM (
    SELECT $__timeInterval(period_start) AS time, cluster, {ratio("held_seconds", "gpu_seconds")} AS value
    FROM fleet_hourly
    WHERE $__timeFilter(period_start) AND {only("cluster", "cluster")}
    GROUP BY time, cluster
    HAVING value IS NOT NULL
) AS u LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = u.cluster
ORDER BY time, series""",
        empty=Text("Known once an hour is settled.", "Connu une fois qu’une heure est réglée."),
    ),
)

_IDLE = Panel(
    id=13,
    name="idle-devices",
    kind=Kind.TABLE,
    title=Text("Held, yet idle: who holds what", "Réservés, mais inactifs : qui tient quoi"),
    description=Text(
        f"Devices that a workload has held for {IDLE_FOR_S // 60} minutes or more, holds still, and kept less than "
        f"{IDLE_BELOW:.0%} busy in the last {_LATELY_MINUTES} minutes of the range, dearest first. Ask the holder to "
        "give them back; follow the agreement to what it costs, at that time.",
        f"Appareils qu’un travail tient depuis {IDLE_FOR_S // 60} minutes ou plus, tient encore, et a occupés à moins "
        f"de {IDLE_BELOW * 100:.0f} % dans les {_LATELY_MINUTES} dernières minutes de la période, les plus chers "
        "d’abord. Demandez au détenteur de les rendre ; suivez l’entente vers ce que cela coûte, à ce moment.",
    ),
    sql=f"""{_HOLDERS}SELECT {_CLUSTER_TITLE} AS cluster_title, on_node,
    if(slice = '', device, concat(device, ' / ', slice)) AS device_title, workload,
    if(agreement = '', {words(Text("none", "aucune"))}, agreement) AS agreement_title, held_s, busy, per_hour, currency,
    agreement, toUnixTimestamp64Milli(since) AS from_ms, toUnixTimestamp64Milli(until) AS to_ms
FROM holders LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = holders.cluster
WHERE idle
ORDER BY per_hour DESC, held_s DESC, cluster, device, slice, workload LIMIT 50""",
    grid=Grid(0, 22, 24, 9),
    bounded="end",
    limit=50,
    columns=(
        Column("cluster_title", Text("Cluster", "Grappe")),
        Column("on_node", Text("Node", "Nœud")),
        Column("device_title", Text("Device", "Appareil")),
        Column("workload", Text("Held by", "Détenu par")),
        Column(
            "agreement_title",
            Text("Agreement", "Entente"),
            link=RowLink(AGREEMENT_DETAIL, {"agreement": "agreement"}, from_column="from_ms", to_column="to_ms"),
        ),
        Column("held_s", Text("Of the last half hour held for", "Tenu, de la dernière demi-heure"), SECONDS),
        Column("busy", Text("Busy", "Occupé"), SHARE),
        Column("per_hour", Text("Cost", "Coût"), AMOUNT_PER_HOUR),
        Column("currency", Text("Currency", "Devise")),
    ),
    empty=Text(
        f"No device has been held for {IDLE_FOR_S // 60} minutes without work.",
        f"Aucun appareil n’est réservé depuis {IDLE_FOR_S // 60} minutes sans travail.",
    ),
)

# Read without FINAL, and label sets only of the hottest: repeated samples change no maximum, and reading label sets and
# merging takes ten times as long.
_HOTTEST = Panel(
    id=14,
    name="hottest",
    kind=Kind.TABLE,
    title=Text("Hottest devices", "Appareils les plus chauds"),
    description=Text(
        f"By their newest temperature in the last {_NOW_MINUTES} minutes of the range, with the highest beside it; "
        f"above {HOT_ABOVE_C:.0f} °C there is an alert. Several on one node: look at its fans and cooling. Samples "
        "are kept for seven days.",
        f"Par leur dernière température dans les {_NOW_MINUTES} dernières minutes de la période, avec la plus haute à "
        f"côté ; au-delà de {HOT_ABOVE_C:.0f} °C, une alerte est levée. Plusieurs sur un nœud : voyez ses ventilateurs "
        "et son refroidissement. Les mesures sont gardées sept jours.",
    ),
    sql=f"""WITH (
    SELECT groupArray((series, newest_c, most_c, newest_w))
    FROM (
        SELECT series, argMax(temperature_c, ts) AS newest_c, max(temperature_c) AS most_c,
            argMax(power_w, ts) AS newest_w
        FROM gpu_samples_store
        WHERE ts >= {_END} - {_NOW} AND ts <= {_END} AND NOT isNaN(temperature_c)
            AND $__conditionalAll(
                series IN (SELECT series FROM gpu_series WHERE cluster IN (${{cluster:singlequote}})), $cluster)
        GROUP BY series
        ORDER BY newest_c DESC, series LIMIT 200
    )
) AS hot
SELECT {_CLUSTER_TITLE} AS cluster_title, on_node, device, product, held_by, newest_c, most_c, power_kw
FROM (
    SELECT cluster, any(node) AS on_node, device, any(gpu_model) AS product, max(of.2) AS newest_c,
        max(of.3) AS most_c, if(isNaN(max(of.4)), NULL, max(of.4) / 1000) AS power_kw,
        arrayStringConcat(arraySort(groupUniqArrayIf(if(job != '', job, concat(namespace, '/', pod)),
            job != '' OR pod != '')), ', ') AS held_by
    FROM (SELECT arrayJoin(hot) AS of) AS h
    INNER JOIN (
        SELECT * FROM gpu_series FINAL WHERE series IN (SELECT arrayJoin(hot).1)
    ) AS l ON l.series = h.of.1
    GROUP BY cluster, device
) AS d LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = d.cluster
ORDER BY newest_c DESC, most_c DESC, cluster, device LIMIT 20""",
    grid=Grid(0, 31, 12, 10),
    bounded="end",
    limit=20,
    columns=(
        Column("cluster_title", Text("Cluster", "Grappe")),
        Column("on_node", Text("Node", "Nœud")),
        Column("device", Text("Device", "Appareil")),
        Column("product", Text("Product", "Produit")),
        Column("held_by", Text("Held by", "Détenu par"), words={"": Text("nobody", "personne")}),
        Column("newest_c", Text("Now", "Maintenant"), CELSIUS, thresholds=_HOT),
        Column("most_c", Text("Highest", "La plus haute"), CELSIUS, thresholds=_HOT),
        Column("power_kw", Text("Power", "Puissance"), KILOWATTS),
    ),
    empty=Text("No temperature was measured.", "Aucune température n’a été mesurée."),
)

_OF_DEVICES = ", ".join(quote(kind) for kind in OF_DEVICES)
# Counters of tokens have defects of the same kinds: their subject begins with an address.
_IS_DEVICE = "subject != '' AND NOT match(splitByChar(' ', subject)[1], '[:/]')"

_DEFECTS = Panel(
    id=15,
    name="device-defects",
    kind=Kind.TABLE,
    title=Text("Devices with defects", "Appareils défectueux"),
    description=Text(
        "Devices about which something was wrong in the last day of the range, most often first. One that vanishes or "
        "resets again and again needs its operator. XID errors and heat are among the open alerts; all defects are in "
        "metering health.",
        "Appareils au sujet desquels quelque chose clochait dans le dernier jour de la période, les plus fréquents "
        "d’abord. Celui qui disparaît ou repart sans cesse a besoin de son exploitant. Erreurs XID et chaleur sont "
        "parmi les alertes ouvertes ; tous les défauts sont dans la santé de la mesure.",
    ),
    sql=f"""SELECT {_CLUSTER_TITLE} AS cluster_title, subject, kind, meaning, times, last_at
FROM (
    SELECT cluster, subject, kind, kind AS meaning, count() AS times, max(ts) AS last_at
    FROM data_quality FINAL
    WHERE ts >= greatest($__fromTime, {_END} - INTERVAL 1 DAY) AND ts <= $__toTime
        AND kind IN ({_OF_DEVICES}) AND {_IS_DEVICE} AND {only("cluster", "cluster")}
    GROUP BY cluster, subject, kind
) AS d LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = d.cluster
ORDER BY times DESC, last_at DESC, cluster, subject, kind LIMIT 50""",
    grid=Grid(12, 31, 12, 10),
    bounded="end",
    limit=50,
    columns=(
        Column("cluster_title", Text("Cluster", "Grappe")),
        Column("subject", Text("Device", "Appareil")),
        Column("kind", Text("Defect", "Défaut")),
        Column("times", Text("Times", "Fois"), COUNT),
        Column("last_at", Text("Last", "Dernier"), MOMENT),
        Column("meaning", Text("What it means", "Ce que cela veut dire"), words=OF_DEVICES),
    ),
    link=METERING_HEALTH,
    empty=Text("No device has a defect.", "Aucun appareil n’a de défaut."),
)

_CLUSTERS = Panel(
    id=16,
    name="clusters",
    kind=Kind.TABLE,
    title=Text("Clusters", "Grappes"),
    description=Text(
        f"Devices, time held and busy, power and cost per hour of the last {_NOW_MINUTES} minutes of the range; money "
        "for devices that were held for an hour and idle, of all settled hours in the range, whoever held them. PUE "
        "and intensity are those that hold at the end; set them in the configuration where they are missing.",
        f"Appareils, temps réservé et occupé, puissance et coût par heure des {_NOW_MINUTES} dernières minutes de la "
        "période ; argent des appareils réservés une heure et inactifs, de toutes les heures réglées de la période, "
        "quel que soit le détenteur. PUE et intensité sont ceux qui valent à la fin ; fixez-les dans la configuration "
        "s’ils manquent.",
    ),
    sql=f"""{_DEVICES}SELECT title, id AS cluster, devices, held, busy, power_kw, pue, g_per_kwh, per_hour, idle_cost
FROM (
    SELECT id, title, pue, g_per_kwh
    FROM (
        SELECT id, if(name = '', id, name) AS title, region, pue, toDate({_END}) AS day FROM clusters FINAL
        WHERE {only("id", "cluster")}
    ) AS k
    ASOF LEFT JOIN (
        SELECT region, effective_from, toNullable(g_per_kwh) AS g_per_kwh FROM carbon_intensity FINAL
    ) AS i ON i.region = k.region AND i.effective_from <= k.day
) AS k
LEFT JOIN (
    SELECT cluster, toNullable(count()) AS devices, {ratio("held", "seconds")} AS held,
        {ratio("busy", "busy_known")} AS busy, sumOrNull(power_w) / 1000 AS power_kw
    FROM devices GROUP BY cluster
) AS d ON d.cluster = k.id
LEFT JOIN (
    SELECT cluster, toFloat64(sum(cost)) * 60 / nullIf(uniqExact(minute), 0) AS per_hour FROM unit_costs
    WHERE minute >= toStartOfMinute({_END}) - {_NOW} AND minute < toStartOfMinute({_END} - INTERVAL 15 SECOND)
        AND {IN_CURRENCY} AND {_FILTERS}
    GROUP BY cluster
) AS m ON m.cluster = k.id
LEFT JOIN (
    SELECT cluster, toNullable(sum(idle_held_cost)) AS idle_cost FROM fleet_hourly
    WHERE $__timeFilter(period_start) AND {IN_CURRENCY} AND {only("cluster", "cluster")}
    GROUP BY cluster
) AS f ON f.cluster = k.id
ORDER BY per_hour DESC NULLS LAST, title""",
    grid=Grid(0, 41, 24, 9),
    columns=(
        Column("title", Text("Cluster", "Grappe"), link=RowLink(UID, {"cluster": "cluster"})),
        Column("devices", Text("Devices", "Appareils"), COUNT),
        Column("held", Text("Held", "Réservés"), SHARE, gauge=True),
        Column("busy", Text("Busy", "Occupés"), SHARE, gauge=True),
        Column("power_kw", Text("Power", "Puissance"), KILOWATTS),
        Column("pue", Text("PUE", "PUE"), RATIO),
        Column("g_per_kwh", Text("Intensity", "Intensité"), G_CO2E_PER_KWH),
        Column("per_hour", Text("Cost per hour", "Coût par heure"), MONEY_PER_HOUR),
        Column("idle_cost", Text("Held, yet idle", "Réservés, inactifs"), MONEY),
    ),
    empty=Text("No cluster is configured.", "Aucune grappe n’est configurée."),
)

DASHBOARD = Dashboard(
    uid=UID,
    title=Text("Fleet operations", "Exploitation du parc"),
    question=Text(
        "What do the devices do right now, and what is wrong?",
        "Que font les appareils en ce moment, et qu’est-ce qui ne va pas ?",
    ),
    variables=(PROGRAMME, AGREEMENT, CLUSTER, MODEL, CURRENCY),
    panels=(
        *_TILES,
        *_CHARTS,
        _IDLE,
        _HOTTEST,
        _DEFECTS,
        _CLUSTERS,
        open_alerts_panel(17, Grid(0, 50, 24, 9), *_VARIABLES),
    ),
    freshness_sql=FRESHNESS_SQL,
    annotations=(alert_annotation((UID,), *_VARIABLES),),
    audience="operations",
)
