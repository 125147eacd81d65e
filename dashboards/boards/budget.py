"""What the dashboards of finance share: the state of agreements, their figures, and the burn-down of their caps."""

from dashboards.boards.common import COSTS_SPAN_S, DAYS, IN_CURRENCY, chosen, only, words
from dashboards.model import Grid, Kind, Level, Panel, SeriesStyle, Threshold
from dashboards.units import MOMENT, MONEY, MONEY_PER_HOUR, SHARE
from schemas.texts import Text

FILTERS = ("programme", "agreement")
"""Variables that choose agreements."""
OWN = f"agreement != '' AND {IN_CURRENCY} AND {chosen(*FILTERS)}"
"""SQL condition: of the chosen agreements, in the chosen currency."""

# A range may end in the future: the state at its end is then that of now.
UPTO = "least($__toTime, now())"

# When the money of an agreement is gone: by the forecast, where its days allow one; else at the current rate, if that
# is within the agreement.
STATE = f"""WITH state AS (
    SELECT *, toDateTime(ends + 1, 'UTC') AS over_at, over_at > {UPTO} AS open,
        if(cap IS NOT NULL AND spent_at_end IS NOT NULL, runs_out_likely,
            if(runs_out < over_at, runs_out, NULL)) AS gone_at
    FROM agreement_state(at = {UPTO})
    WHERE {chosen(*FILTERS)}
)
"""

USED = (
    Threshold(None, Level.GOOD, Text("within the cap", "sous le plafond")),
    Threshold(0.8, Level.WATCH, Text("plan the end", "prévoir la fin")),
    Threshold(0.9, Level.ACT, Text("decide now", "décider maintenant")),
    Threshold(1.0, Level.ACT, Text("cap reached", "plafond atteint")),
)
RUNWAY = (
    Threshold(None, Level.ACT, Text("within a week", "moins d’une semaine")),
    Threshold(168, Level.WATCH, Text("within a month", "moins d’un mois")),
    Threshold(730, Level.GOOD, Text("more than a month", "plus d’un mois")),
)
RULE_WORDS = {
    "cost_share": Text("share of cost", "part du coût"),
    "token_price": Text("price per token", "prix par jeton"),
    "credits": Text("credits", "crédits"),
}

NO_AGREEMENT = Text("No agreement is configured.", "Aucune entente n’est configurée.")
NO_CAP = Text("No agreement has a cap.", "Aucune entente n’a de plafond.")
NO_SUBSIDY = Text("No subsidy in this range yet.", "Aucune subvention dans cette période pour l’instant.")


def number(value: str, places: int) -> str:
    """SQL: a number as a text with so many decimals, in the dashboard's language."""
    return f"replaceOne(toDecimalString({value}, {places}), '.', if(${{lang:singlequote}} = 'fr', ',', '.'))"


def percent(share: str) -> str:
    """SQL: a share as a text in per cent."""
    return f"concat({number(f'100 * ({share})', 1)}, '\u00a0%')"


# The last seven whole days against the thirty before, or as many of them as were metered, at least seven.
_CHANGE = f"""(
    SELECT if(days < 7 OR before <= 0, '', concat(
        {words(Text("7 days: ", "7 jours : "))}, if(lately * days >= before * 7, '+', ''),
        {percent("lately * days / before / 7 - 1")}, {words(Text(" against the ", " face aux "))}, toString(days),
        {words(Text(" before", " précédents"))}))
    FROM (
        SELECT toFloat64(sumIf(subsidy, day >= today - 7)) AS lately,
            toFloat64(sumIf(subsidy, day < today - 7)) AS before, dateDiff('day', min(day), today - 7) AS days
        FROM (SELECT day, subsidy, toDate({UPTO}, 'UTC') AS today FROM costs_daily
            WHERE day >= today - 37 AND day < today AND {OWN})
        GROUP BY today
    )
)"""


def spent(panel_id: int, grid: Grid) -> Panel:
    return Panel(
        id=panel_id,
        grid=grid,
        name="spent",
        kind=Kind.STAT,
        title=Text("Subsidy spent", "Subvention dépensée"),
        description=Text(
            "Subsidy spent by the chosen agreements at the end of the range, since each began, at most their caps. "
            "Beside it: the last seven whole days against the thirty before, per day. A change that nobody announced "
            "is a question to the recipient.",
            "Subvention dépensée par les ententes choisies à la fin de la période, depuis leur début, dans la limite "
            "des plafonds. À côté : les sept derniers jours entiers face aux trente précédents, par jour. Un "
            "changement que personne n’a annoncé est une question pour le bénéficiaire.",
        ),
        unit=MONEY,
        bounded="end",
        sql=f"{STATE}SELECT sumOrNull(spent) AS value, ifNull({_CHANGE}, '') AS note FROM state WHERE {IN_CURRENCY}",
        empty=NO_AGREEMENT,
    )


def remaining(panel_id: int, grid: Grid) -> Panel:
    return Panel(
        id=panel_id,
        grid=grid,
        name="remaining",
        kind=Kind.STAT,
        title=Text("Remaining to caps", "Reste jusqu’aux plafonds"),
        description=Text(
            "What the chosen agreements may still receive at the end of the range: cap minus spent. Agreements without "
            "a cap are left out, and those that have ended receive nothing more. When it is small beside the burn "
            "rate, decide on a top-up or announce the end.",
            "Ce que les ententes choisies peuvent encore recevoir à la fin de la période : plafond moins dépensé. Les "
            "ententes non plafonnées sont laissées de côté, et celles qui ont pris fin ne reçoivent plus rien. S’il "
            "est petit face au rythme, décidez d’un complément ou annoncez la fin.",
        ),
        unit=MONEY,
        bounded="end",
        sql=f"{STATE}SELECT sumOrNull(if(open, cap - spent, toDecimal128(0, 9))) AS value\n"
        f"FROM state WHERE {IN_CURRENCY} AND cap IS NOT NULL",
        empty=NO_CAP,
    )


def used(panel_id: int, grid: Grid) -> Panel:
    return Panel(
        id=panel_id,
        grid=grid,
        name="used",
        kind=Kind.STAT,
        title=Text("Caps used", "Plafonds utilisés"),
        description=Text(
            "Spent as a share of all caps, agreements without a cap left out. From 80 % plan the end with the "
            "recipients, from 90 % decide now.",
            "Dépensé en part de tous les plafonds, sans les ententes non plafonnées. Dès 80 %, prévoyez la fin avec "
            "les bénéficiaires ; dès 90 %, décidez.",
        ),
        unit=SHARE,
        thresholds=USED,
        bounded="end",
        sql=f"{STATE}SELECT toFloat64(sum(spent)) / nullIf(toFloat64(sum(cap)), 0) AS value\n"
        f"FROM state WHERE {IN_CURRENCY} AND cap IS NOT NULL",
        empty=NO_CAP,
    )


def burn_rate(panel_id: int, grid: Grid) -> Panel:
    times = number("lasting_burn / lasting", 2)
    return Panel(
        id=panel_id,
        grid=grid,
        name="burn-rate",
        kind=Kind.STAT,
        title=Text("Burn rate", "Rythme de dépense"),
        description=Text(
            "Subsidy per hour of the chosen agreements at the end of the range, over its last five minutes; nothing "
            "once a cap is reached. Beside it: how many times the rate at which the money of capped agreements lasts "
            "exactly until they end. Well above 1, or after a jump, see the burn rate by agreement.",
            "Subvention par heure des ententes choisies à la fin de la période, sur ses cinq dernières minutes ; rien "
            "une fois le plafond atteint. À côté : combien de fois le rythme auquel l’argent des ententes plafonnées "
            "dure juste jusqu’à leur fin. Nettement au-dessus de 1, ou après un saut, voyez le rythme par entente.",
        ),
        unit=MONEY_PER_HOUR,
        bounded="end",
        sql=f"""{STATE}SELECT value,
    if(lasting > 0, concat({times}, {words(Text(" × the lasting rate", " × le rythme tenable"))}), '') AS note
FROM (
    SELECT sumOrNull(rate_per_hour) AS value, toFloat64(sumIf(rate_per_hour, cap IS NOT NULL AND open)) AS lasting_burn,
        sumIf(toFloat64(ifNull(cap, 0) - spent) * 3600 / dateDiff('second', {UPTO}, over_at),
            cap IS NOT NULL AND open) AS lasting
    FROM state WHERE {IN_CURRENCY}
)""",
        empty=NO_AGREEMENT,
        link="cw-unit-economics",
    )


def gone(panel_id: int, grid: Grid, name: str, title: Text) -> Panel:
    return Panel(
        id=panel_id,
        grid=grid,
        name=name,
        kind=Kind.STAT,
        title=title,
        description=Text(
            "When the first of the chosen agreements will have used up its cap or grant, and whose it is: by the "
            "forecast from its last days, at its current rate before there is one. Nothing that lasts until its "
            "agreement ends is counted. Talk to that recipient first.",
            "Moment où la première des ententes choisies aura épuisé son plafond ou ses crédits, et laquelle : selon "
            "la prévision tirée de ses derniers jours, ou à son rythme actuel avant qu’il y en ait une. Ce qui dure "
            "jusqu’à la fin de l’entente ne compte pas. Parlez d’abord à ce bénéficiaire.",
        ),
        unit=MOMENT,
        bounded="end",
        sql=f"""{STATE}SELECT toUnixTimestamp(gone_at) * 1000 AS value, recipient AS note
FROM state WHERE gone_at IS NOT NULL AND open AND (cap IS NULL OR spent < cap) AND {IN_CURRENCY}
ORDER BY gone_at, agreement LIMIT 1""",
        empty=Text("Nothing runs out before its end.", "Rien ne s’épuise avant sa fin."),
    )


def _first_s(span_s: str) -> str:
    """SQL: first moment of the rows of such a length that lie in the range, unix seconds."""
    return (
        f"if({DAYS}, intDiv(toUnixTimestamp($__fromTime), 86400) * 86400, "
        f"intDiv(toUnixTimestamp($__fromTime) + {span_s} - 1, {span_s}) * {span_s})"
    )


# First moment of the rows that `costs` yields for the range, unix seconds; and the end of the last that is over.
FIRST_S = _first_s(COSTS_SPAN_S)
WHOLE_UNTIL_S = (
    f"least(intDiv(toUnixTimestamp($__toTime), {COSTS_SPAN_S}) + 1, "
    f"intDiv(toUnixTimestamp(now()) - 15, {COSTS_SPAN_S})) * {COSTS_SPAN_S}"
)
WIDTH_S = f"greatest($__interval_s, {COSTS_SPAN_S})"
"""Length of one point of a series over `costs`."""

ACTUAL = Text("Actual", "Réel")
PLAN = Text("Plan", "Plan")
FORECAST = Text("Forecast", "Prévision")
EARLY = Text("Sooner, 1 in 10", "Plus tôt, 1 sur 10")
LATE = Text("Later, 1 in 10", "Plus tard, 1 sur 10")

# Money left is caps minus spent, of agreements that have not ended. Each agreement gives its points as arrays, which
# are added up. Of the actual money they are steps: what it spent in an interval, never beyond its cap, is taken off at
# the end of it, and what it leaves unused when it ends. The plan runs straight between its points. The forecast goes on
# from what is left now: with mean m per day of n days, left - m t, and a band left - m t -+ w sqrt(t + t^2/n) after t
# days, where w is that with which the money is gone at the early end that was forecast (compose.finance.forecasting has
# the law); what cannot be forecast stays as it is. Half as many points as other series have: the lines are smooth, and
# every agreement has its own.
_DAYS_ON = "((t - upto_s) / 86400)"
_PLANNED = """arraySum((a, b, low, high) -> (high - low) * (least(greatest(t, a), b) - a) / (b - a),
                    arrayPopBack(knots_s), arrayPopFront(knots_s), arrayPopBack(knots), arrayPopFront(knots))"""


def _going_on(sign: str) -> str:
    """SQL: what will be left at the moments `ahead`, `sign` times the half width of the band from the mean."""
    width = f" {sign} spread * sqrt({_DAYS_ON} + {_DAYS_ON} * {_DAYS_ON} / days)" if sign else ""
    left = f"greatest(0, toFloat64(rest) - greatest(0, mean * {_DAYS_ON}{width}))"
    return f"if(max(known), sumForEach(arrayMap(t -> if(t < ends_s, {left}, 0), ahead)), [])"


# A burn-down adds up all history: from ranges of some hours on it does without minutes, which are many.
_MINUTES = "$__interval_s < 300"
_SPAN_S = f"if({_MINUTES}, 60, if({DAYS}, 86400, 3600))"

# All subsidy of the chosen agreements until the end of the range: settled days, then settled hours, then the minutes
# since, from the tables beneath `costs_daily` and `costs_hourly`, whose views would be planned three times over. Hours
# begin with the day of the first point, and minutes with its hour, where the range is short enough for them.
_FIRST_DAY = f"if({DAYS}, toDate($__toTime, 'UTC') + 1, toDate(first_s, 'UTC'))"
_HOURS_UNTIL = f"""if({DAYS}, toDateTime(toDate($__toTime, 'UTC') + 1, 'UTC'),
                            if({_MINUTES}, toStartOfHour(toDateTime(first_s, 'UTC')),
                            toStartOfHour(toDateTime($__toTime, 'UTC')) + INTERVAL 1 HOUR))"""
_MINUTES_UNTIL = f"""if({DAYS}, toDateTime(toDate($__toTime, 'UTC') + 1, 'UTC'),
                            if({_MINUTES}, $__toTime + 1,
                            toStartOfHour(toDateTime($__toTime, 'UTC')) + INTERVAL 1 HOUR))"""
_CAPPED = f"""{OWN} AND agreement IN (
                            SELECT id FROM agreements FINAL
                            WHERE cap IS NOT NULL AND toUnixTimestamp(toDateTime(ends + 1, 'UTC')) > first_s
                        )"""
_SPENDING = f"""(
                        SELECT toDateTime(day, 'UTC') AS at, agreement, subsidy FROM costs_daily_store FINAL
                        WHERE day < least({_FIRST_DAY}, toDate(settled_until)) AND {_CAPPED}
                        UNION ALL
                        SELECT period_start AS at, agreement, subsidy FROM costs_hourly_store FINAL
                        WHERE period_start >= toDateTime(least({_FIRST_DAY}, toDate(settled_until)), 'UTC')
                            AND period_start < least({_HOURS_UNTIL}, settled_until) AND {_CAPPED}
                        UNION ALL
                        SELECT minute AS at, agreement, subsidy FROM unit_costs_store FINAL
                        WHERE minute >= least({_HOURS_UNTIL}, settled_until) AND minute < {_MINUTES_UNTIL}
                            AND {_CAPPED}
                    )"""
_BURN_DOWN = f"""WITH (
        SELECT if(count() = 0, toDateTime(0, 'UTC'), max(period_start) + INTERVAL 1 HOUR) FROM rollups
    ) AS settled_until,
    toInt64({_first_s(_SPAN_S)}) AS first_s, toInt64(toUnixTimestamp({UPTO})) AS upto_s,
    toInt64(toUnixTimestamp($__fromTime)) AS from_s, toInt64(toUnixTimestamp($__toTime)) AS to_s,
    2 * greatest($__interval_s, {_SPAN_S}) AS step_s,
    arrayDistinct(arrayPushBack(arrayMap(n -> toInt64(from_s + n * step_s),
        range(toUInt32(intDiv(to_s - from_s, step_s) + 1))), to_s)) AS grid,
    arrayFilter(t -> t >= first_s AND t <= upto_s, arrayMap(n -> toInt64(intDiv(first_s, step_s) + n) * step_s,
        range(toUInt32(intDiv(to_s - from_s, step_s) + 2)))) AS held,
    if(to_s > upto_s + 300, arrayPushFront(arrayFilter(t -> t > upto_s, grid), upto_s), []) AS ahead
SELECT toDateTime(point.2, 'UTC') AS time, point.1 AS series, point.3 AS value
FROM (
    SELECT arrayJoin(arrayConcat(
        arrayMap(t -> ({words(ACTUAL)}, t, arraySum((at_s, step) -> if(at_s <= t, step, toDecimal128(0, 9)),
            steps.1, steps.2)), arrayDistinct(arrayConcat(steps.1, held))),
        arrayMap((t, left) -> ({words(PLAN)}, t, toDecimal128(left, 9)), grid, planned),
        arrayMap((t, left) -> ({words(FORECAST)}, t, toDecimal128(left, 9)), arrayResize(ahead, length(likely)),
            likely),
        arrayMap((t, left) -> ({words(EARLY)}, t, toDecimal128(left, 9)), arrayResize(ahead, length(early)),
            early),
        arrayMap((t, left) -> ({words(LATE)}, t, toDecimal128(left, 9)), arrayResize(ahead, length(late)),
            late)
    )) AS point
    FROM (
        SELECT sumMap(
                arrayConcat(times, [first_s, upto_s], if(ends_s <= upto_s, [ends_s], [])),
                arrayConcat(arrayMap((was, is) -> was - is, arrayPopBack(arrayPushFront(reached, before)), reached),
                    [ceiling - before, toDecimal128(0, 9)], if(ends_s <= upto_s, [-rest], []))) AS steps,
            sumForEach(arrayMap(t -> if(t < ends_s, toFloat64(ceiling) - {_PLANNED}, 0), grid)) AS planned,
            {_going_on("")} AS likely,
            {_going_on("+")} AS early,
            {_going_on("-")} AS late
        FROM (
            SELECT assumeNotNull(a.cap) AS ceiling, a.spent_before AS before,
                toInt64(toUnixTimestamp(toDateTime(a.starts, 'UTC'))) AS starts_s,
                toInt64(toUnixTimestamp(toDateTime(a.ends + 1, 'UTC'))) AS ends_s,
                m.times AS times, arrayMap(x -> least(ceiling, before + x), arrayCumSum(m.amounts)) AS reached,
                ceiling - arrayPushFront(reached, before)[length(reached) + 1] AS rest,
                JSONExtractArrayRaw(a.plan) AS points,
                if(empty(points), [starts_s, ends_s], arrayPushFront(arrayMap(point -> toInt64(toUnixTimestamp(
                    toDateTime(toDate(JSONExtractString(point, 'on')) + 1, 'UTC'))), points), starts_s)) AS knots_s,
                if(empty(points), [0, toFloat64(ceiling)], arrayPushFront(arrayMap(
                    point -> toFloat64(JSONExtractString(point, 'spent')), points), 0)) AS knots,
                f.spent_at_end IS NOT NULL AS known, if(known, toFloat64(f.mean_per_day), 0) AS mean,
                greatest(f.days, 1) AS days,
                dateDiff('second', f.until, ifNull(f.projected_end_early, f.until)) / 86400 AS gone_in,
                if(known AND gone_in > 0, greatest(0, toFloat64(ifNull(f.remaining, 0)) - mean * gone_in)
                    / sqrt(gone_in + gone_in * gone_in / days), 0) AS spread
            FROM (
                SELECT * FROM agreements FINAL WHERE cap IS NOT NULL AND {only("programme", "programme")}
                    AND {only("id", "agreement")} AND programme IN (SELECT id FROM programmes FINAL WHERE {IN_CURRENCY})
            ) AS a
            LEFT JOIN (
                SELECT agreement, groupArray(until_s) AS times, groupArray(amount) AS amounts
                FROM (
                    SELECT agreement, sum(subsidy) AS amount, if(toUnixTimestamp(at) < first_s, first_s,
                        least(toInt64(intDiv(toUnixTimestamp(at), step_s) + 1) * step_s, upto_s)) AS until_s
                    FROM {_SPENDING}
                    GROUP BY agreement, until_s ORDER BY until_s
                )
                GROUP BY agreement
            ) AS m ON m.agreement = a.id
            LEFT JOIN (
                SELECT agreement, until, spent_at_end, mean_per_day, days, projected_end_early, remaining
                FROM subsidy_forecasts
                WHERE recorded_at <= {UPTO} AND recorded_at >= {UPTO} - INTERVAL 3 DAY
                ORDER BY recorded_at DESC LIMIT 1 BY agreement
            ) AS f ON f.agreement = a.id
            WHERE ends_s > first_s
        )
        HAVING count() > 0
    )
)
WHERE point.2 >= from_s AND point.2 <= to_s AND NOT (series = {words(ACTUAL)} AND point.2 > upto_s)
ORDER BY time, series"""


def burn_down(panel_id: int, grid: Grid) -> Panel:
    """Money left of the caps: actual, as planned, and as it will go on."""
    return Panel(
        id=panel_id,
        grid=grid,
        name="burn-down",
        kind=Kind.TIMESERIES,
        title=Text("Money left of the caps", "Argent restant des plafonds"),
        description=Text(
            "Caps minus spent, of the chosen agreements that have a cap and have not ended: as it was, as planned (a "
            "straight line where an agreement says nothing else), and as it goes on by the forecast from the last "
            "days, where there is one: in 1 of 10 cases money goes sooner than the band, in 1 of 10 later. Above the "
            "plan it will be left over; a forecast that meets the bottom before the plan does needs a decision about "
            "the cap or the use. Choose a range that ends in the future to see it.",
            "Plafonds moins dépensé, des ententes choisies qui ont un plafond et n’ont pas pris fin : tel que c’était, "
            "tel que prévu au plan (une droite si l’entente n’en dit rien), et tel que cela continue selon la "
            "prévision tirée des derniers jours, s’il y en a une : 1 fois sur 10 l’argent part plus tôt que la bande, "
            "1 fois sur 10 plus tard. Au-dessus du plan, il restera de l’argent ; une prévision qui touche le bas "
            "avant le plan demande une décision sur le plafond ou l’usage. Choisissez une période qui finit dans "
            "l’avenir pour la voir.",
        ),
        unit=MONEY,
        styles=(
            SeriesStyle(ACTUAL),
            SeriesStyle(PLAN, level=Level.GOOD),
            SeriesStyle(FORECAST, dashed=True),
            SeriesStyle(EARLY, dashed=True, level=Level.PLAIN),
            SeriesStyle(LATE, dashed=True, level=Level.PLAIN, down_to=EARLY),
        ),
        sql=_BURN_DOWN,
        empty=NO_CAP,
    )
