"""Subsidy burn: how much subsidy is spent, by whom, and when does it run out? For finance."""

# ruff: noqa: S608  (SQL put together from constants of these modules; values come in through macros.substitute alone)

from functools import partial

from dashboards.boards.common import AGREEMENT, FRESHNESS_SQL, PROGRAMME, freshness_panel, only, programme_name
from dashboards.model import Column, Dashboard, Grid, Kind, Level, Panel, RowLink, Threshold
from dashboards.units import AMOUNT, AMOUNT_PER_HOUR, CAD, CAD_PER_HOUR, HOURS, MOMENT, SHARE, Text

UID = "cw-subsidy-burn"
_COSTS = "cw-unit-economics"

# Burn is recorded while an agreement is used: the newest row of one that has stopped tells what it spent, no longer
# its rate. It counts as used while its newest minute is at most this far behind the newest of all.
_USED_WITHIN = "INTERVAL 10 MINUTE"

# The state of every agreement at the end of the range. One that has not been metered yet stands at what was spent
# before metering began. A rate is what the programme pays: nothing once the cap is reached.
_STATE = f"""WITH (SELECT max(minute) FROM subsidy_burn WHERE minute <= $__toTime) AS newest, state AS (
    SELECT a.id AS agreement, a.recipient AS recipient, a.programme AS programme, a.rule AS rule,
        if(b.agreement = '', a.spent_before, b.spent) AS spent, if(b.agreement = '', a.cap, b.cap) AS cap,
        b.agreement != '' AND b.minute >= newest - {_USED_WITHIN} AS used_now,
        if(used_now AND (cap IS NULL OR spent < cap), b.rate_per_hour, 0) AS rate_per_hour,
        if(used_now, b.runway_hours, NULL) AS runway_hours, if(runway_hours > 0, b.projected_end, NULL) AS ends_at,
        if(b.agreement = '', p.currency, b.currency) AS currency
    FROM (
        SELECT * FROM agreements FINAL
        WHERE {only("programme", "programme")} AND {only("id", "agreement")}
    ) AS a
    LEFT JOIN (
        SELECT * FROM subsidy_burn WHERE minute <= $__toTime
        ORDER BY minute DESC LIMIT 1 BY agreement
    ) AS b ON b.agreement = a.id
    LEFT JOIN (SELECT * FROM programmes FINAL) AS p ON p.id = a.programme
)
"""

# The ten agreements that burn most, and the name each goes by: the recipient, told apart where one has several.
_TOP = f"""{_STATE}, top AS (
    SELECT agreement, if(namesakes > 1, concat(recipient, ' · ', agreement), recipient) AS name
    FROM (SELECT *, count() OVER (PARTITION BY recipient) AS namesakes FROM state WHERE currency = 'CAD')
    ORDER BY rate_per_hour DESC, spent DESC, agreement LIMIT 10
)
"""

_USED = (
    Threshold(None, Level.GOOD, Text("within the cap", "sous le plafond")),
    Threshold(0.8, Level.WATCH, Text("plan the end", "prévoir la fin")),
    Threshold(0.9, Level.ACT, Text("decide now", "décider maintenant")),
    Threshold(1.0, Level.ACT, Text("cap reached", "plafond atteint")),
)
_RUNWAY = (
    Threshold(None, Level.ACT, Text("within a week", "moins d’une semaine")),
    Threshold(168, Level.WATCH, Text("within a month", "moins d’un mois")),
    Threshold(730, Level.GOOD, Text("more than a month", "plus d’un mois")),
)
_TEN = Text(
    " The ten agreements that burn most; choose others above.",
    " Les dix ententes qui consomment le plus ; choisissez-en d’autres ci-dessus.",
)


def _plus(text: Text) -> Text:
    return Text(text.en + _TEN.en, text.fr + _TEN.fr)


_NO_AGREEMENT = Text("No agreement is configured.", "Aucune entente n’est configurée.")
_NO_END = Text("Nothing runs out at the current rate.", "Rien ne s’épuise au rythme actuel.")
_NO_BURN = Text("No subsidy in this range yet.", "Aucune subvention dans cette période pour l’instant.")


_tile = partial(Panel, kind=Kind.STAT)

_TILES = (
    _tile(
        id=1,
        grid=Grid(0, 0, 4, 4),
        name="spent",
        title=Text("Subsidy spent", "Subvention dépensée"),
        description=Text(
            "Subsidy spent by the chosen agreements at the end of the range, since each began, at most their caps. "
            "Open the table below to see who spent it.",
            "Subvention dépensée par les ententes choisies à la fin de la période, depuis leur début, dans la limite "
            "des plafonds. Le tableau ci-dessous dit qui l’a dépensée.",
        ),
        unit=CAD,
        bounded="end",
        sql=f"{_STATE}SELECT sumOrNull(spent) AS value FROM state WHERE currency = 'CAD'",
        empty=_NO_AGREEMENT,
    ),
    _tile(
        id=2,
        grid=Grid(4, 0, 4, 4),
        name="remaining",
        title=Text("Remaining to caps", "Reste jusqu’aux plafonds"),
        description=Text(
            "What the chosen agreements may still receive: cap minus spent, agreements without a cap left out. "
            "When it is small beside the burn rate, decide on a top-up or announce the end.",
            "Ce que les ententes choisies peuvent encore recevoir : plafond moins dépensé, sans les ententes non "
            "plafonnées. S’il est petit face au rythme, décidez d’un complément ou annoncez la fin.",
        ),
        unit=CAD,
        bounded="end",
        sql=f"{_STATE}SELECT sumOrNull(cap - spent) AS value FROM state WHERE currency = 'CAD' AND cap IS NOT NULL",
        empty=Text("No agreement has a cap.", "Aucune entente n’a de plafond."),
    ),
    _tile(
        id=3,
        grid=Grid(8, 0, 4, 4),
        name="used",
        title=Text("Caps used", "Plafonds utilisés"),
        description=Text(
            "Spent as a share of all caps, agreements without a cap left out. From 80 % plan the end with the "
            "recipients, from 90 % decide now.",
            "Dépensé en part de tous les plafonds, sans les ententes non plafonnées. Dès 80 %, prévoyez la fin avec "
            "les bénéficiaires ; dès 90 %, décidez.",
        ),
        unit=SHARE,
        thresholds=_USED,
        bounded="end",
        sql=f"{_STATE}SELECT toFloat64(sum(spent)) / nullIf(toFloat64(sum(cap)), 0) AS value\n"
        "FROM state WHERE currency = 'CAD' AND cap IS NOT NULL",
        empty=Text("No agreement has a cap.", "Aucune entente n’a de plafond."),
    ),
    _tile(
        id=4,
        grid=Grid(12, 0, 4, 4),
        name="burn-rate",
        title=Text("Burn rate", "Rythme de dépense"),
        description=Text(
            "Subsidy that the chosen agreements burn per hour at the end of the range, those at their cap nothing. "
            "A jump means new work or a new "
            "price: see the burn rate by agreement.",
            "Subvention que les ententes choisies consomment par heure à la fin de la période, celles au plafond rien. "
            "Un saut signale un "
            "nouveau travail ou un nouveau prix : voyez le rythme par entente.",
        ),
        unit=CAD_PER_HOUR,
        bounded="end",
        sql=f"{_STATE}SELECT sumOrNull(rate_per_hour) AS value FROM state WHERE currency = 'CAD'",
        empty=_NO_AGREEMENT,
    ),
    _tile(
        id=5,
        grid=Grid(16, 0, 4, 4),
        name="next-end",
        title=Text("Next to run out", "Prochain épuisement"),
        description=Text(
            "When the first of the chosen agreements will have used up its grant, if it goes on at its current rate. "
            "Talk to that recipient first.",
            "Moment où la première des ententes choisies aura épuisé sa subvention si elle continue au rythme actuel. "
            "Parlez d’abord à ce bénéficiaire.",
        ),
        unit=MOMENT,
        bounded="end",
        sql=f"""{_STATE}SELECT toUnixTimestamp(ends_at) * 1000 AS value, recipient AS note
FROM state WHERE ends_at IS NOT NULL ORDER BY ends_at, agreement LIMIT 1""",
        empty=_NO_END,
    ),
    _tile(
        id=6,
        grid=Grid(20, 0, 4, 4),
        name="subsidy-share",
        title=Text("Subsidy share of cost", "Part subventionnée du coût"),
        description=Text(
            "Part of the cost of all work under the chosen agreements in the range that the programmes pay, before "
            "caps. Compare with the shares agreed; a drift means that work moved to places with another share.",
            "Part du coût des travaux des ententes choisies dans la période que les programmes paient, avant plafonds. "
            "Comparez aux parts convenues ; un écart signale un déplacement vers des lieux à autre part.",
        ),
        unit=SHARE,
        sql=f"""SELECT toFloat64(sum(subsidy)) / nullIf(toFloat64(sum(cost)), 0) AS value
FROM unit_costs
WHERE $__timeFilter(minute) AND agreement != '' AND currency = 'CAD'
    AND {only("programme", "programme")} AND {only("agreement", "agreement")}""",
        link=_COSTS,
    ),
)

_SERIES = (
    Panel(
        id=7,
        name="cap-used",
        kind=Kind.TIMESERIES,
        title=Text("Cap used, by agreement", "Plafond utilisé, par entente"),
        description=_plus(
            Text(
                "Subsidy spent as a share of the cap; the line at 100 % is the cap, where the programme stops paying. "
                "A line that nears it needs a decision.",
                "Subvention dépensée en part du plafond ; la ligne à 100 % est le plafond, où le programme cesse de "
                "payer. Une courbe qui s’en approche demande une décision.",
            )
        ),
        unit=SHARE,
        thresholds=(
            Threshold(None, Level.PLAIN),
            Threshold(0.9, Level.WATCH, Text("decide now", "décider")),
            Threshold(1.0, Level.ACT, Text("cap", "plafond")),
        ),
        threshold_lines=True,
        sql=f"""{_TOP}SELECT $__timeInterval(minute) AS time, any(name) AS series,
    toFloat64(argMax(b.spent, minute)) / nullIf(toFloat64(argMax(b.cap, minute)), 0) AS value
FROM subsidy_burn AS b INNER JOIN top ON top.agreement = b.agreement
WHERE $__timeFilter(minute) AND b.cap IS NOT NULL
GROUP BY time, b.agreement
ORDER BY time, series""",
        grid=Grid(0, 4, 8, 10),
        empty=_NO_BURN,
    ),
    Panel(
        id=8,
        name="spent-in-range",
        kind=Kind.TIMESERIES,
        title=Text("Spent since the range began", "Dépensé depuis le début de la période"),
        description=_plus(
            Text(
                "Subsidy that each agreement spent since the start of the range, in dollars. "
                "The steepest line costs the programme most right now.",
                "Subvention dépensée par chaque entente depuis le début de la période, en dollars. "
                "La courbe la plus raide est celle qui coûte le plus au programme en ce moment.",
            )
        ),
        unit=CAD,
        sql=f"""{_TOP}SELECT time, series, value - min(value) OVER (PARTITION BY agreement) AS value
FROM (
    SELECT $__timeInterval(minute) AS time, b.agreement AS agreement, any(name) AS series, max(b.spent) AS value
    FROM subsidy_burn AS b INNER JOIN top ON top.agreement = b.agreement
    WHERE $__timeFilter(minute)
    GROUP BY time, agreement
)
ORDER BY time, series""",
        grid=Grid(8, 4, 8, 10),
        empty=_NO_BURN,
    ),
    Panel(
        id=9,
        name="burn-by-agreement",
        kind=Kind.TIMESERIES,
        title=Text("Burn rate, by agreement", "Rythme de dépense, par entente"),
        description=_plus(
            Text(
                "Subsidy per hour, nothing once the cap is reached. A step up is new work: ask the recipient whether "
                "it was planned.",
                "Subvention par heure, rien une fois le plafond atteint. Une marche vers le haut est un nouveau "
                "travail : demandez au bénéficiaire s’il était prévu.",
            )
        ),
        unit=CAD_PER_HOUR,
        sql=f"""{_TOP}SELECT $__timeInterval(minute) AS time, any(name) AS series,
    avg(if(b.cap IS NULL OR b.spent < b.cap, toFloat64(b.rate_per_hour), 0)) AS value
FROM subsidy_burn AS b INNER JOIN top ON top.agreement = b.agreement
WHERE $__timeFilter(minute)
GROUP BY time, b.agreement
ORDER BY time, series""",
        grid=Grid(16, 4, 8, 10),
        empty=_NO_BURN,
        link=_COSTS,
    ),
)

_AGREEMENTS = Panel(
    id=10,
    name="agreements",
    kind=Kind.TABLE,
    title=Text("Agreements, the first to run out on top", "Ententes, la première à s’épuiser en tête"),
    description=Text(
        "State of every chosen agreement at the end of the range. Rate and runway are those of the newest minute; the "
        "runway is what remains divided by the rate. Follow a recipient to see what its work costs.",
        "État de chaque entente choisie à la fin de la période. Le rythme et l’autonomie sont ceux de la dernière "
        "minute ; l’autonomie est le reste divisé par le rythme. Suivez un bénéficiaire pour voir ce que coûte son "
        "travail.",
    ),
    sql=f"""{_STATE}SELECT recipient, agreement,
    {programme_name("programme")} AS programme_name,
    rule, spent, cap, toFloat64(spent) / nullIf(toFloat64(cap), 0) AS used, rate_per_hour, runway_hours,
    ends_at, currency
FROM state LEFT JOIN (SELECT id, name_en, name_fr FROM programmes FINAL) AS p ON p.id = state.programme
ORDER BY runway_hours ASC NULLS LAST, used DESC NULLS LAST, agreement LIMIT 200""",
    grid=Grid(0, 14, 24, 10),
    bounded="end",
    limit=200,
    columns=(
        Column("recipient", Text("Recipient", "Bénéficiaire"), link=RowLink(_COSTS, "agreement", "agreement")),
        Column("programme_name", Text("Programme", "Programme")),
        Column(
            "rule",
            Text("Rule", "Règle"),
            words={
                "cost_share": Text("share of cost", "part du coût"),
                "token_price": Text("price per token", "prix par jeton"),
                "credits": Text("credits", "crédits"),
            },
        ),
        Column("currency", Text("Currency", "Devise")),
        Column("spent", Text("Spent", "Dépensé"), AMOUNT),
        Column("cap", Text("Cap", "Plafond"), AMOUNT),
        Column("used", Text("Used", "Utilisé"), SHARE, thresholds=_USED, gauge=True),
        Column("rate_per_hour", Text("Rate", "Rythme"), AMOUNT_PER_HOUR),
        Column("runway_hours", Text("Runway", "Autonomie"), HOURS, thresholds=_RUNWAY),
        Column("ends_at", Text("Runs out", "S’épuise"), MOMENT),
    ),
    empty=_NO_AGREEMENT,
)

_ALERTS = Panel(
    id=11,
    name="open-alerts",
    kind=Kind.TABLE,
    title=Text("Open alerts", "Alertes ouvertes"),
    description=Text(
        "Alerts that fire at the end of the range, the most severe and newest first. Each goes when its condition "
        "ends; none needs to be closed by hand.",
        "Alertes actives à la fin de la période, les plus graves et récentes d’abord. Chacune disparaît avec sa cause "
        "; aucune n’est à fermer à la main.",
    ),
    sql="""SELECT argMax(severity, ts) AS level, argMax(rule, ts) AS name, argMax(subject, ts) AS about,
    argMax(summary, ts) AS what, starts_at
FROM alerts FINAL
WHERE ts <= $__toTime
GROUP BY fingerprint, starts_at
HAVING argMax(state, (ts, state)) = 'firing'
ORDER BY indexOf(['critical', 'warning', 'info'], level), starts_at DESC, fingerprint LIMIT 100""",
    grid=Grid(0, 24, 16, 8),
    bounded="end",
    limit=100,
    columns=(
        Column(
            "level",
            Text("Severity", "Gravité"),
            words={
                "info": Text("info", "info"),
                "warning": Text("warning", "avertissement"),
                "critical": Text("critical", "critique"),
            },
            levels={"info": Level.PLAIN, "warning": Level.WATCH, "critical": Level.ACT},
        ),
        Column("what", Text("What", "Quoi")),
        Column("about", Text("Subject", "Sujet")),
        Column("starts_at", Text("Since", "Depuis"), MOMENT),
    ),
    empty=Text("No alert is open.", "Aucune alerte n’est ouverte."),
)

DASHBOARD = Dashboard(
    uid=UID,
    title=Text("Subsidy burn", "Consommation de la subvention"),
    question=Text(
        "How much subsidy is spent, by whom, and when does it run out?",
        "Combien de subvention est dépensée, par qui, et quand s’épuise-t-elle ?",
    ),
    variables=(PROGRAMME, AGREEMENT),
    panels=(*_TILES, *_SERIES, _AGREEMENTS, _ALERTS, freshness_panel(12, Grid(16, 24, 8, 8))),
    freshness_sql=FRESHNESS_SQL,
)
