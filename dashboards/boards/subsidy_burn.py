"""Subsidy burn: how much subsidy is spent, by whom, and when does it run out? For finance."""

from dashboards.boards import budget
from dashboards.boards.common import (
    AGREEMENT,
    AGREEMENT_DETAIL,
    CURRENCY,
    FRESHNESS_SQL,
    IN_CURRENCY,
    PROGRAMME,
    SUBSIDY_BURN,
    UNIT_ECONOMICS,
    costs,
    only,
    programme_name,
    words,
)
from dashboards.boards.shared import (
    alert_annotation,
    cap_annotation,
    closing_panel,
    figure_at,
    freshness_panel,
    newest_panel,
    observed_panel,
    open_alerts_panel,
    price_annotation,
)
from dashboards.model import Column, Dashboard, Grid, Kind, Level, Panel, RowLink, Threshold
from dashboards.units import AMOUNT, AMOUNT_PER_HOUR, HOURS, MOMENT, MONEY, MONEY_PER_HOUR, SHARE
from schemas.texts import Text

UID = SUBSIDY_BURN

_PROJECTED = Panel(
    id=5,
    grid=figure_at(4),
    name="projected",
    kind=Kind.STAT,
    title=Text("Projected at the end", "Projeté à la fin"),
    description=Text(
        "What will have been spent when the chosen agreements end, at most their caps, by their newest forecasts; "
        "beside it as a share of their caps. Those of which too few days are known are left out and counted. "
        "Far below the caps, money will be left over: decide whether it goes elsewhere.",
        "Ce qui aura été dépensé à la fin des ententes choisies, dans la limite des plafonds, selon leurs dernières "
        "prévisions ; à côté, en part des plafonds. Les ententes dont trop peu de jours sont connus sont laissées de "
        "côté et comptées. Loin sous les plafonds, il restera de l’argent : décidez s’il va ailleurs.",
    ),
    unit=MONEY,
    bounded="end",
    sql=f"""{budget.STATE}SELECT value, arrayStringConcat(arrayFilter(part -> part != '', [
    if(caps > 0, concat({budget.percent("of_caps / caps")}, {words(Text(" of caps", " des plafonds"))}), ''),
    if(unknown > 0, concat(toString(unknown), {words(Text(" without forecast", " sans prévision"))}), '')
    ]), ' · ') AS note
FROM (
    SELECT sumOrNull(if(open, spent_at_end, spent) AS final) AS value, countIf(final IS NULL) AS unknown,
        toFloat64(sumIf(final, cap IS NOT NULL)) AS of_caps,
        toFloat64(sumIf(cap, cap IS NOT NULL AND final IS NOT NULL)) AS caps
    FROM state WHERE {IN_CURRENCY}
)""",
    empty=Text("Forecast after three whole days.", "Prévision après trois jours entiers."),
)

_BY_PROGRAMME = Panel(
    id=10,
    name="spent-by-programme",
    kind=Kind.TIMESERIES,
    title=Text("Subsidy per interval, by programme", "Subvention par intervalle, par programme"),
    description=Text(
        "Subsidy of the chosen agreements in each interval of the range (minutes to days, by its length), stacked. "
        "The newest interval is still filling; a step that lasts is new work or a new price.",
        "Subvention des ententes choisies dans chaque intervalle de la période (de la minute au jour, selon sa "
        "longueur), empilée. L’intervalle le plus récent se remplit encore ; une marche qui dure est un nouveau "
        "travail ou un nouveau prix.",
    ),
    unit=MONEY,
    stacked=True,
    sql=f"""SELECT time, if(p.name = '', programme, p.name) AS series, sum(amount) AS value
FROM (
    SELECT $__timeInterval(at) AS time, programme, sum(subsidy) AS amount
    FROM {costs(["programme", "subsidy"], budget.OWN)}
    GROUP BY time, programme
) AS u LEFT JOIN (SELECT id, {programme_name("id")} AS name FROM programmes FINAL) AS p ON p.id = u.programme
GROUP BY time, series
ORDER BY time, series""",
    grid=Grid(0, 14, 12, 9),
    empty=budget.NO_SUBSIDY,
)

_BY_AGREEMENT = Panel(
    id=11,
    name="burn-by-agreement",
    kind=Kind.TIMESERIES,
    title=Text("Burn rate, by agreement", "Rythme de dépense, par entente"),
    description=Text(
        "Subsidy per hour over each whole interval, of the ten agreements that spent most in the range; choose others "
        "above. A step up is new work: ask the recipient whether it was planned.",
        "Subvention par heure sur chaque intervalle entier, des dix ententes qui ont le plus dépensé dans la période ; "
        "choisissez-en d’autres ci-dessus. Une marche vers le haut est un nouveau travail : demandez au bénéficiaire "
        "s’il était prévu.",
    ),
    unit=MONEY_PER_HOUR,
    sql=f"""WITH toInt64({budget.FIRST_S}) AS first_s, toInt64({budget.WHOLE_UNTIL_S}) AS until_s
SELECT point.1 AS time, if(a.namesakes > 1, concat(a.recipient, ' · ', agreement), a.recipient) AS series,
    toFloat64(point.2) * 3600
        / (least(toUnixTimestamp(time) + {budget.WIDTH_S}, until_s) - greatest(toUnixTimestamp(time), first_s)) AS value
FROM (
    SELECT agreement, groupArray((began, amount)) AS points
    FROM (
        SELECT $__timeInterval(at) AS began, toString(agreement) AS agreement, sum(subsidy) AS amount
        FROM {costs(["agreement", "subsidy"], budget.OWN)}
        WHERE toUnixTimestamp(at) < until_s
        GROUP BY began, agreement
    )
    GROUP BY agreement
    ORDER BY sum(amount) DESC, agreement LIMIT 10
) AS u
ARRAY JOIN points AS point
LEFT JOIN (
    SELECT id, recipient, count() OVER (PARTITION BY recipient) AS namesakes FROM agreements FINAL
) AS a ON a.id = u.agreement
ORDER BY time, series""",
    grid=Grid(12, 14, 12, 9),
    empty=budget.NO_SUBSIDY,
    link=UNIT_ECONOMICS,
)

_CHANGE = (
    Threshold(None, Level.PLAIN),
    Threshold(0.25, Level.WATCH, Text("rising", "en hausse")),
    Threshold(1.0, Level.ACT, Text("doubled", "doublé")),
)

_AGREEMENTS = Panel(
    id=12,
    name="agreements",
    kind=Kind.TABLE,
    title=Text("Agreements, the first to run out on top", "Ententes, la première à s’épuiser en tête"),
    description=Text(
        "State of every chosen agreement at the end of the range, in its own currency: the subsidy of its last 14 "
        "whole days, the last seven of them against the seven before, the rate of its newest minutes, for how long "
        "the rest lasts at that rate, and when the money is gone by the forecast: likely, and between which days in 8 "
        "of 10 cases. Follow a recipient to the agreement, over its whole term.",
        "État de chaque entente choisie à la fin de la période, dans sa propre devise : la subvention de ses 14 "
        "derniers jours entiers, les sept derniers face aux sept précédents, le rythme de ses dernières minutes, "
        "combien de temps le reste dure à ce rythme, et quand l’argent sera épuisé selon la prévision : date probable, "
        "et entre quels jours 8 fois sur 10. Suivez un bénéficiaire vers l’entente, sur toute sa durée.",
    ),
    sql=f"""{budget.STATE}SELECT recipient, agreement, programme, {programme_name("programme")} AS programme_name, rule,
    currency, spent, cap, used_share AS used, d.bars AS trend, d.change AS change, rate_per_hour, runway_hours, gone_at,
    if(runs_out_early IS NULL, '', concat(toString(toDate(runs_out_early)), ' – ',
        if(runs_out_late IS NULL, {words(Text("after its end", "après sa fin"))},
            toString(toDate(runs_out_late))))) AS band,
    ends, toUnixTimestamp(toDateTime(starts, 'UTC')) * 1000 AS from_ms, toUnixTimestamp(over_at) * 1000 AS to_ms
FROM state
LEFT JOIN (SELECT id, name_en, name_fr FROM programmes FINAL) AS p ON p.id = state.programme
LEFT JOIN (
    SELECT of, sparkbar(14, 0, 13)(place, toFloat64(amount)) AS bars,
        if(min(day) <= today - 14 AND sumIf(amount, day < today - 7) > 0,
            toFloat64(sumIf(amount, day >= today - 7)) / toFloat64(sumIf(amount, day < today - 7)) - 1, NULL) AS change
    FROM (
        SELECT toString(agreement) AS of, day, toDate({budget.UPTO}, 'UTC') AS today,
            toUInt8(dateDiff('day', today - 14, day)) AS place, greatest(sum(subsidy), 0) AS amount
        FROM costs_daily
        WHERE day >= toDate({budget.UPTO}, 'UTC') - 14 AND day < toDate({budget.UPTO}, 'UTC') AND agreement != ''
            AND {only("programme", "programme")} AND {only("agreement", "agreement")}
        GROUP BY of, day
    )
    GROUP BY of, today
) AS d ON d.of = state.agreement
ORDER BY gone_at ASC NULLS LAST, used DESC NULLS LAST, agreement LIMIT 200""",
    grid=Grid(0, 23, 24, 11),
    bounded="end",
    limit=200,
    columns=(
        Column(
            "recipient",
            Text("Recipient", "Bénéficiaire"),
            link=RowLink(
                AGREEMENT_DETAIL,
                {"agreement": "agreement", "programme": "programme", "currency": "currency"},
                from_column="from_ms",
                to_column="to_ms",
            ),
        ),
        Column("programme_name", Text("Programme", "Programme")),
        Column("rule", Text("Rule", "Règle"), words=budget.RULE_WORDS),
        Column("currency", Text("Currency", "Devise")),
        Column("spent", Text("Spent", "Dépensé"), AMOUNT),
        Column("cap", Text("Cap", "Plafond"), AMOUNT),
        Column("used", Text("Used", "Utilisé"), SHARE, thresholds=budget.USED, gauge=True),
        Column("trend", Text("14 days", "14 jours")),
        Column("change", Text("7 days", "7 jours"), SHARE, thresholds=_CHANGE),
        Column("rate_per_hour", Text("Rate", "Rythme"), AMOUNT_PER_HOUR),
        Column("runway_hours", Text("Runway", "Autonomie"), HOURS, thresholds=budget.RUNWAY),
        Column("gone_at", Text("Runs out", "S’épuise"), MOMENT),
        Column("band", Text("8 in 10 between", "8 sur 10 entre")),
    ),
    empty=budget.NO_AGREEMENT,
)

DASHBOARD = Dashboard(
    uid=UID,
    title=Text("Subsidy burn", "Consommation de la subvention"),
    question=Text(
        "How much subsidy is spent, by whom, and when does it run out?",
        "Combien de subvention est dépensée, par qui, et quand s’épuise-t-elle ?",
    ),
    variables=(PROGRAMME, AGREEMENT, CURRENCY),
    panels=(
        budget.spent(1, figure_at(0)),
        budget.remaining(2, figure_at(1)),
        budget.used(3, figure_at(2)),
        budget.burn_rate(4, figure_at(3)),
        _PROJECTED,
        budget.gone(6, figure_at(5), "next-end", Text("Next to run out", "Prochain épuisement")),
        observed_panel(7, 6),
        newest_panel(8, 7),
        budget.burn_down(9, Grid(0, 4, 24, 10)),
        _BY_PROGRAMME,
        _BY_AGREEMENT,
        _AGREEMENTS,
        open_alerts_panel(13, Grid(0, 34, 24, 8), *budget.FILTERS),
        freshness_panel(14, Grid(0, 42, 12, 7)),
        closing_panel(15, Grid(12, 42, 12, 7)),
    ),
    freshness_sql=FRESHNESS_SQL,
    annotations=(
        alert_annotation((AGREEMENT_DETAIL, UNIT_ECONOMICS), *budget.FILTERS),
        price_annotation(),
        cap_annotation(),
    ),
    range="fy",
    audience="finance",
)
