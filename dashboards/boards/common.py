"""What several dashboards share: variables, filters, thresholds and pieces of SQL.

Amounts are added up in CAD only, the currency of these dashboards; what is booked in another currency is listed as such
(columns `currency` and `other`), never added and never dropped silently.
"""

# ruff: noqa: S608  (SQL put together from constants of these modules; values come in through macros.substitute alone)

from dashboards.macros import quote
from dashboards.model import Column, Grid, Kind, Level, Panel, Threshold, Variable
from dashboards.units import MOMENT, SECONDS, Text
from schemas.config import Alerts

_DEFAULTS = Alerts()
TARGET_LOW = float(_DEFAULTS.cost_per_mtok_low)
TARGET_HIGH = float(_DEFAULTS.cost_per_mtok_high)
IDLE_BELOW = float(_DEFAULTS.idle_below)
IDLE_FOR_S = int(_DEFAULTS.idle_for)
SILENT_AFTER_S = int(_DEFAULTS.silent_after)


def words(text: Text) -> str:
    """SQL that yields a text in the dashboard's language."""
    return f"if(${{lang:singlequote}} = 'fr', {quote(text.fr)}, {quote(text.en)})"


def only(column: str, variable: str) -> str:
    """SQL condition: the column is among the chosen values of the variable, or All is chosen."""
    return f"$__conditionalAll({column} IN (${{{variable}:singlequote}}), ${variable})"


def programme_name(otherwise: str) -> str:
    """SQL: the programme's name in the dashboard's language, from name_en and name_fr."""
    return f"if(${{lang:singlequote}} = 'fr' AND name_fr != '', name_fr, if(name_en = '', {otherwise}, name_en))"


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
MODEL = Variable(
    "model",
    Text("Model", "Modèle"),
    "SELECT DISTINCT model AS value, model AS text\nFROM unit_costs\n"
    "WHERE $__timeFilter(minute) AND model != ''\nORDER BY text",
)

# Usage is known up to here: the ledger of the last hour to the millisecond, that of the last week to the minute.
NEWEST_BY_CLUSTER = """
    SELECT cluster, max(upto) AS reached
    FROM (
        SELECT cluster, max(ts_end) AS upto FROM gpu_usage
        WHERE ts_start >= now() - INTERVAL 1 HOUR GROUP BY cluster
        UNION ALL
        SELECT cluster, toDateTime64(max(minute), 3, 'UTC') AS upto FROM unit_costs
        WHERE minute >= now() - INTERVAL 7 DAY GROUP BY cluster
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

CLUSTER_COLUMN = Column("cluster", Text("Cluster", "Grappe"))


def freshness_panel(panel_id: int, grid: Grid) -> Panel:
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
FROM (SELECT id, name FROM clusters FINAL) AS c
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
