"""Unit economics: what does a million tokens cost, where, and why? For finance and operators."""

from collections.abc import Sequence
from functools import partial

from dashboards.boards.common import (
    AGREEMENT,
    AGREEMENT_DETAIL,
    CLUSTER,
    CLUSTER_NAMES,
    COSTS_SPAN_S,
    CURRENCY,
    DAYS,
    FLEET,
    FRESHNESS_SQL,
    IN_CURRENCY,
    MODEL,
    PROGRAMME,
    SUBSIDY_BURN,
    TARGET_HIGH,
    TARGET_LOW,
    UNIT_ECONOMICS,
    WHOLE_SPAN,
    chosen,
    costs,
    per_second,
    ratio,
    totals,
    words,
)
from dashboards.boards.shared import (
    alert_annotation,
    figure_at,
    newest_panel,
    observed_panel,
    open_alerts_panel,
    price_annotation,
)
from dashboards.model import Column, Dashboard, Grid, Kind, Level, Panel, RowLink, SeriesStyle, Threshold
from dashboards.units import (
    GPU_HOURS,
    JOULES_PER_TOKEN,
    MONEY,
    MONEY_PER_HOUR,
    MONEY_PER_MTOK,
    SHARE,
    TOKENS,
    TOKENS_PER_SECOND,
)
from schemas.texts import Text

UID = UNIT_ECONOMICS

_VARIABLES = ("programme", "agreement", "cluster", "model")
_FILTERS = chosen(*_VARIABLES)
_SERVES = "model != ''"
_TOKENS = "(prompt_tokens + generation_tokens)"
_COUNTERS = ("prompt_tokens", "generation_tokens")
_COST_PER_MTOK = ratio("cost", _TOKENS, " * 1e6")
_J_PER_TOKEN = ratio("energy_j", _TOKENS)
_PER_HOUR = "{} * 3600"

_NO_MODEL = Text("no model", "aucun modèle")
_UNATTRIBUTED = Text("unattributed", "non attribué")
_NO_TOKENS = Text("No tokens in this range yet.", "Aucun jeton dans cette période pour l’instant.")
_NOTHING_WHOLE = Text(
    "Known after a whole minute; of long ranges, after a whole hour or day.",
    "Connu après une minute entière ; pour une longue période, après une heure ou un jour entier.",
)
_TARGET = (
    Threshold(None, Level.GOOD, Text("below target", "sous la cible")),
    Threshold(TARGET_LOW, Level.GOOD, Text("on target", "dans la cible")),
    Threshold(TARGET_HIGH, Level.WATCH, Text("above target", "au-dessus de la cible")),
)
_BAND = (
    Threshold(None, Level.PLAIN),
    Threshold(TARGET_LOW, Level.GOOD, Text("target", "cible")),
    Threshold(TARGET_HIGH, Level.PLAIN),
)


def _rate(amount: str, columns: Sequence[str], *conditions: str) -> str:
    """SQL of a figure: a sum over costs per second, over whole minutes, hours or days.

    The first of them is left out, unless it is the only one: metering may have begun within it.
    """
    return f"""if(count() > 1, toFloat64(sum(amount) - argMin(amount, at)), toFloat64(sum(amount)))
    / (greatest(count() - 1, 1) * {COSTS_SPAN_S}) AS per_second
FROM (
    SELECT at, sum({amount}) AS amount FROM {costs(columns, *conditions, _FILTERS)}
    WHERE {WHOLE_SPAN} GROUP BY at
)
HAVING count() > 0"""


_tile = partial(Panel, kind=Kind.STAT)

_TILES = (
    _tile(
        id=1,
        grid=figure_at(0),
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
        unit=MONEY_PER_MTOK,
        thresholds=_TARGET,
        sql=f"SELECT {_COST_PER_MTOK} AS value\nFROM {costs(('cost', *_COUNTERS), IN_CURRENCY, _SERVES, _FILTERS)}",
        empty=_NO_TOKENS,
    ),
    _tile(
        id=2,
        grid=figure_at(1),
        name="energy-per-token",
        title=Text("Energy per token", "Énergie par jeton"),
        description=Text(
            "GPU energy per prompt and output token of work that serves models, whatever its currency; the building "
            "is not included. It rises when replicas idle: compare with the busy share.",
            "Énergie des GPU par jeton d’entrée et de sortie des travaux qui servent des modèles, quelle que soit leur "
            "devise ; le bâtiment n’est pas compris. Elle monte quand des répliques chôment : comparez au taux "
            "d’occupation.",
        ),
        unit=JOULES_PER_TOKEN,
        sql=f"SELECT {_J_PER_TOKEN} AS value\nFROM {costs(('energy_j', *_COUNTERS), _SERVES, _FILTERS)}",
        empty=_NO_TOKENS,
    ),
    _tile(
        id=3,
        grid=figure_at(2),
        name="tokens-per-second",
        title=Text("Tokens per second", "Jetons par seconde"),
        description=Text(
            "Prompt and output tokens per second, averaged over the whole minutes of the range; of long ranges, over "
            "whole hours or days. When it falls while cost stays, look for the model below.",
            "Jetons d’entrée et de sortie par seconde, en moyenne sur les minutes entières de la période ; pour une "
            "longue période, sur les heures ou jours entiers. S’il baisse alors que le coût reste, cherchez le modèle "
            "ci-dessous.",
        ),
        unit=TOKENS_PER_SECOND,
        sql=f"SELECT per_second AS value FROM (\nSELECT {_rate(_TOKENS, _COUNTERS)}\n)",
        empty=_NOTHING_WHOLE,
    ),
    _tile(
        id=4,
        grid=figure_at(3),
        name="cost-per-hour",
        title=Text("Cost per hour", "Coût par heure"),
        description=Text(
            "Cost of all chosen devices per hour, averaged over the whole minutes of the range; of long ranges, over "
            "whole hours or days. It changes with the fleet and its prices, not with how busy it is.",
            "Coût de tous les appareils choisis par heure, en moyenne sur les minutes entières de la période ; pour "
            "une longue période, sur les heures ou jours entiers. Il change avec le parc et ses prix, non avec son "
            "occupation.",
        ),
        unit=MONEY_PER_HOUR,
        sql=f"SELECT per_second * 3600 AS value FROM (\nSELECT {_rate('cost', ('cost',), IN_CURRENCY)}\n)",
        empty=_NOTHING_WHOLE,
        link=SUBSIDY_BURN,
    ),
    _tile(
        id=5,
        grid=figure_at(4),
        name="busy-share",
        title=Text("Busy share", "Taux d’occupation"),
        description=Text(
            "Share of the device time during which the compute engine was active. Cost is charged on allocated time, "
            "so a low share makes every token dear: give idle devices back.",
            "Part du temps d’appareil où le moteur de calcul était actif. Le coût porte sur le temps alloué : un taux "
            "faible renchérit chaque jeton. Rendez les appareils inactifs.",
        ),
        unit=SHARE,
        sql=f"SELECT {ratio('busy_seconds', 'gpu_seconds')} AS value\n"
        f"FROM {costs(('busy_seconds', 'gpu_seconds'), _FILTERS)}",
        link=FLEET,
    ),
    _tile(
        id=6,
        grid=figure_at(5),
        name="subsidy-share",
        title=Text("Subsidy share of cost", "Part subventionnée du coût"),
        description=Text(
            "Part of the cost of all work under the chosen agreements that the programmes pay; before caps in hours "
            "that are not settled yet. Compare with the shares agreed: a drift means that work moved to places with "
            "another share.",
            "Part du coût des travaux des ententes choisies que les programmes paient ; avant plafonds dans les heures "
            "qui ne sont pas encore réglées. Comparez aux parts convenues : un écart signale un déplacement vers des "
            "lieux à autre part.",
        ),
        unit=SHARE,
        sql=f"SELECT {ratio('subsidy', 'cost')} AS value\n"
        f"""FROM {costs(("subsidy", "cost"), IN_CURRENCY, "agreement != ''", _FILTERS)}""",
        link=SUBSIDY_BURN,
    ),
    observed_panel(7, 6, "cluster"),
    newest_panel(8, 7, "cluster"),
)


_LINES = 12


def _largest(en: str, fr: str) -> Text:
    """Words for a chart that is limited to that many lines."""
    return Text(
        f"{en} Of many lines the twelve largest; choose others above.",
        f"{fr} De plusieurs courbes, les douze plus grandes ; choisissez-en d’autres ci-dessus.",
    )


def _by(label: str, key: Sequence[str], value: str, size: str, columns: Sequence[str], *conditions: str) -> str:
    """SQL of a time series over costs, one line per key; `label` may name the cluster (`cluster_name`). Of more than
    twelve lines those are there whose `size` is largest in the range."""
    names = f"LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = u.cluster" if "cluster" in key else ""
    keys = ", ".join(key)
    return f"""SELECT time, {label} AS series, value
FROM (
    SELECT *, dense_rank() OVER (ORDER BY size DESC, {keys}) AS place
    FROM (
        SELECT $__timeInterval(at) AS time, {keys}, {value} AS value, sum({size}) OVER (PARTITION BY {keys}) AS size
        FROM {costs((*key, *columns), *conditions, _FILTERS)}
        WHERE {WHOLE_SPAN}
        GROUP BY time, {keys}
        HAVING value IS NOT NULL
    )
) AS u {names}
WHERE place <= {_LINES}
ORDER BY time, series"""


_CLUSTER_TITLE = "if(cluster_name = '', cluster, cluster_name)"
_BY_CLUSTER = partial(_by, _CLUSTER_TITLE, ("cluster",))
_BY_MODEL = partial(_by, f"concat(model, ' · ', {_CLUSTER_TITLE})", ("model", "cluster"))

_chart = partial(Panel, kind=Kind.TIMESERIES, empty=_NOTHING_WHOLE)

_FULL = Text("full cost", "coût complet")
_AFTER = Text("after subsidy", "après subvention")

# Hours, of long ranges days: what a cost is made of is known once its hour is settled.
_SETTLED = (
    ("costs_hourly", "period_start", f"NOT ({DAYS})", "$__timeFilter(period_start)"),
    ("costs_daily", "toDateTime(day, 'UTC')", DAYS, "$__dateFilter(day)"),
)


def _stacked(sums: Sequence[tuple[Text, str]], columns: Sequence[str]) -> str:
    """SQL of a time series whose lines are sums that add up to the cost of an hour or day; those always 0 are left
    out."""
    rows = "\n    UNION ALL\n".join(
        f"    SELECT {moment} AS at, cost, settled, category, {', '.join(columns)} FROM {relation}\n"
        f"    WHERE {wide} AND {bounded} AND {IN_CURRENCY} AND {_FILTERS}"
        for relation, moment, wide, bounded in _SETTLED
    )
    parts = ",\n    ".join(f"({words(name)}, {total})" for name, total in sums)
    return f"""SELECT time, series, value
FROM (
    SELECT time, part.1 AS series, part.2 AS value, sum(abs(value)) OVER (PARTITION BY series) AS size
    FROM (
        SELECT $__timeInterval(at) AS time, [
    {parts}
    ] AS parts
        FROM (
{rows}
        )
        GROUP BY time
    )
    ARRAY JOIN parts AS part
)
WHERE size != 0
ORDER BY time, series"""


_OPEN = Text("not settled yet", "pas encore réglé")
_MADE_OF = _stacked(
    (
        (Text("electricity", "électricité"), "sumIf(energy_cost, settled)"),
        (Text("operation", "exploitation"), "sumIf(operation_cost, settled)"),
        (Text("purchase", "achat"), "sumIf(capital_cost, settled)"),
        (Text("contract", "contrat"), "sumIf(contract_cost, settled)"),
        (_OPEN, "sumIf(cost, NOT settled)"),
    ),
    ("energy_cost", "operation_cost", "capital_cost", "contract_cost"),
)
_USED_FOR = _stacked(
    (
        (Text("charged, busy", "facturé, occupé"), "sumIf(usage_cost, category = 'charged')"),
        (Text("charged, not busy", "facturé, inoccupé"), "sumIf(cost - usage_cost, category = 'charged')"),
        (Text("held without agreement", "réservé sans entente"), "sumIf(cost, category = 'unattributed')"),
        (Text("held by nobody", "réservé par personne"), "sumIf(cost, category = 'idle')"),
        (_OPEN, "sumIf(cost, category = 'open')"),
    ),
    ("usage_cost",),
)
_NO_HOUR = Text("No hour begins in this range.", "Aucune heure ne commence dans cette période.")

_CHARTS = (
    _chart(
        id=9,
        grid=Grid(0, 4, 12, 9),
        sql=_BY_MODEL(_COST_PER_MTOK, "sum(cost)", ("cost", *_COUNTERS), IN_CURRENCY, _SERVES),
        name="cost-per-mtok-by-model",
        title=Text("Cost per 1M tokens, by model and cluster", "Coût par million de jetons, par modèle et grappe"),
        description=_largest(
            f"Against the target band of {TARGET_LOW:.2f} to {TARGET_HIGH:.2f} CAD; logarithmic. A line above the "
            "band: more load, fewer replicas, or another cluster.",
            f"Face à la cible de {TARGET_LOW:.2f} à {TARGET_HIGH:.2f} CAD ; échelle logarithmique. Une courbe "
            "au-dessus : plus de charge, moins de répliques, ou une autre grappe.",
        ),
        unit=MONEY_PER_MTOK,
        thresholds=_BAND,
        threshold_lines=True,
        log_scale=True,
    ),
    _chart(
        id=10,
        grid=Grid(12, 4, 12, 9),
        sql=_BY_MODEL(_J_PER_TOKEN, "sum(energy_j)", ("energy_j", *_COUNTERS), _SERVES),
        name="energy-by-model",
        title=Text("GPU energy per token, by model and cluster", "Énergie GPU par jeton, par modèle et grappe"),
        description=_largest(
            "Joules of GPU energy per prompt and output token; logarithmic. A model that differs between clusters "
            "runs on older devices, or with less load, on one of them.",
            "Joules d’énergie GPU par jeton d’entrée et de sortie ; échelle logarithmique. Un modèle qui diffère "
            "entre grappes tourne sur des appareils plus anciens, ou moins chargés, sur l’une d’elles.",
        ),
        unit=JOULES_PER_TOKEN,
        log_scale=True,
    ),
    _chart(
        id=11,
        grid=Grid(0, 13, 12, 9),
        sql=_MADE_OF,
        name="cost-split",
        title=Text("What the cost is made of", "De quoi le coût est fait"),
        description=Text(
            "Cost of each hour, of long ranges of each interval, by its parts: electricity, operation, the purchase "
            "written off, and contracts of rented devices. Known once an hour is settled, minutes after its end. Much "
            "electricity: move work to a cheaper tariff. Much purchase: keep the devices busy.",
            "Coût de chaque heure, ou de chaque intervalle d’une longue période, par ses parts : électricité, "
            "exploitation, achat amorti, et contrats des appareils loués. Connu une fois l’heure réglée, quelques "
            "minutes après sa fin. Beaucoup d’électricité : déplacez le travail vers un tarif plus bas. Beaucoup "
            "d’achat : occupez les appareils.",
        ),
        unit=MONEY,
        stacked=True,
        empty=_NO_HOUR,
    ),
    _chart(
        id=12,
        grid=Grid(12, 13, 12, 9),
        sql=_USED_FOR,
        name="cost-use",
        title=Text("What the cost is spent on", "À quoi le coût sert"),
        description=Text(
            "The same cost by what it served: charged to agreements while busy and while not, held by work that has "
            "no agreement, and held by nobody. Without agreement: see who holds these devices in fleet operations. "
            "Held by nobody: offer the devices, or switch them off.",
            "Le même coût par ce qu’il a servi : facturé aux ententes, occupé ou non, réservé par un travail sans "
            "entente, et réservé par personne. Sans entente : voyez qui tient ces appareils dans l’exploitation du "
            "parc. Réservé par personne : offrez ces appareils, ou éteignez-les.",
        ),
        unit=MONEY,
        stacked=True,
        link=FLEET,
        empty=_NO_HOUR,
    ),
    _chart(
        id=13,
        grid=Grid(0, 22, 12, 9),
        name="cost-after-subsidy",
        title=Text("Cost per 1M tokens, full and after subsidy", "Coût par million de jetons, complet et subventionné"),
        description=Text(
            "What a million tokens cost, and what of it the recipients pay themselves; the distance between the lines "
            f"is the subsidy. The band is the national target of {TARGET_LOW:.2f} to {TARGET_HIGH:.2f} CAD. Where only "
            "the lower line is within it, the price rests on the subsidy.",
            "Ce que coûte un million de jetons, et ce que les bénéficiaires en paient eux-mêmes ; l’écart entre les "
            f"courbes est la subvention. La bande est la cible nationale de {TARGET_LOW:.2f} à {TARGET_HIGH:.2f} CAD. "
            "Si seule la courbe du bas y est, le prix repose sur la subvention.",
        ),
        unit=MONEY_PER_MTOK,
        thresholds=_BAND,
        threshold_lines=True,
        styles=(SeriesStyle(_FULL, down_to=_AFTER), SeriesStyle(_AFTER, dashed=True)),
        sql=f"""SELECT time, line.1 AS series, line.2 AS value
FROM (
    SELECT $__timeInterval(at) AS time, {_COST_PER_MTOK} AS full_cost,
        {ratio("cost - subsidy", _TOKENS, " * 1e6")} AS after_subsidy
    FROM {costs(("cost", "subsidy", *_COUNTERS), IN_CURRENCY, _SERVES, _FILTERS)}
    WHERE {WHOLE_SPAN}
    GROUP BY time
    HAVING full_cost IS NOT NULL
)
ARRAY JOIN [({words(_FULL)}, full_cost), ({words(_AFTER)}, after_subsidy)] AS line
ORDER BY time, series""",
    ),
    _chart(
        id=14,
        grid=Grid(12, 22, 12, 9),
        sql=_by("model", ("model",), per_second(f"sum({_TOKENS})"), f"sum({_TOKENS})", _COUNTERS, _SERVES),
        name="tokens-by-model",
        title=Text("Tokens per second, by model", "Jetons par seconde, par modèle"),
        description=_largest(
            "Prompt and output tokens, all clusters together. When it falls while cost stays, cost per token rises: "
            "ask who serves the model whether requests fail or traffic moved.",
            "Jetons d’entrée et de sortie, toutes grappes confondues. Quand il baisse et que le coût reste, le coût "
            "par jeton monte : demandez à qui sert le modèle si des requêtes échouent ou si le trafic s’est déplacé.",
        ),
        unit=TOKENS_PER_SECOND,
    ),
    _chart(
        id=15,
        grid=Grid(0, 31, 12, 9),
        sql=_BY_CLUSTER(_PER_HOUR.format(per_second("sum(cost)")), "sum(cost)", ("cost",), IN_CURRENCY),
        name="cost-by-cluster",
        title=Text("Cost per hour, by cluster", "Coût par heure, par grappe"),
        description=_largest(
            "Cost of the chosen work per hour, over the minutes, hours or days that were observed. A drop to less than "
            "before, without fewer devices, is a price change.",
            "Coût des travaux choisis par heure, sur les minutes, heures ou jours observés. Une baisse sans moins "
            "d’appareils est un changement de prix.",
        ),
        unit=MONEY_PER_HOUR,
    ),
    _chart(
        id=16,
        grid=Grid(12, 31, 12, 9),
        sql=_BY_CLUSTER(_PER_HOUR.format(per_second("sum(subsidy)")), "sum(subsidy)", ("subsidy",), IN_CURRENCY),
        name="subsidy-by-cluster",
        title=Text("Subsidy per hour, by cluster", "Subvention par heure, par grappe"),
        description=_largest(
            "The programmes' part of that cost; before caps in hours that are not settled yet. Compare with the cost "
            "beside it: where the lines part, less of the work is subsidised.",
            "La part des programmes dans ce coût ; avant plafonds dans les heures qui ne sont pas encore réglées. "
            "Comparez au coût à côté : où les courbes s’écartent, une moindre part du travail est subventionnée.",
        ),
        unit=MONEY_PER_HOUR,
        link=SUBSIDY_BURN,
    ),
)

_KEY = ("cluster", "model", "agreement")
_MEASURES = (
    "gpu_seconds", "busy_seconds", "energy_j", "prompt_tokens", "generation_tokens", "cost", "usage_cost", "subsidy",
)  # fmt: skip

_COSTS = Panel(
    id=17,
    name="costs",
    kind=Kind.TABLE,
    title=Text("Cost by cluster, model and agreement", "Coût par grappe, modèle et entente"),
    description=Text(
        "Totals of the range, dearest first. Cost counts allocated time and adds up to the bill; usage cost is its "
        "busy part. A wide gap between the two is money for idle devices. What is booked in another currency stands "
        "beside it and is not added. Follow an agreement to its details, a cluster to its devices.",
        "Totaux de la période, les plus chers d’abord. Le coût compte le temps alloué et égale la facture ; le coût "
        "d’usage en est la part occupée. Un grand écart entre les deux est de l’argent pour des appareils inactifs. Ce "
        "qui est comptabilisé dans une autre devise figure à côté, sans être ajouté. Suivez une entente vers son "
        "détail, une grappe vers ses appareils.",
    ),
    sql=f"""SELECT {_CLUSTER_TITLE} AS cluster_title, if(model = '', {words(_NO_MODEL)}, model) AS model_title,
    if(agreement = '', {words(_UNATTRIBUTED)}, agreement) AS agreement_title, cluster, model, agreement,
    gpu_hours, tokens, total, used, paid, per_mtok, per_mtok_output, j_per_token, busy, other
FROM (
    SELECT cluster, model, agreement, toFloat64(sum(gpu_seconds)) / 3600 AS gpu_hours, sum({_TOKENS}) AS tokens,
        sumIf(cost, {IN_CURRENCY}) AS total, sumIf(usage_cost, {IN_CURRENCY}) AS used,
        sumIf(subsidy, {IN_CURRENCY}) AS paid,
        toFloat64(total) * 1e6 / nullIf(sumIf({_TOKENS}, {IN_CURRENCY}), 0) AS per_mtok,
        toFloat64(total) * 1e6 / nullIf(sumIf(generation_tokens, {IN_CURRENCY}), 0) AS per_mtok_output,
        {_J_PER_TOKEN} AS j_per_token, {ratio("busy_seconds", "gpu_seconds")} AS busy,
        arrayStringConcat(arraySort(groupArrayIf(concat(toDecimalString(cost, 2), ' ', currency),
            cost != 0 AND NOT ({IN_CURRENCY}))), ', ') AS other
    FROM (
        SELECT {", ".join(_KEY)}, currency, {", ".join(f"sum({name}) AS {name}" for name in _MEASURES)}
        FROM {totals((*_KEY, "currency", *_MEASURES), _FILTERS)}
        GROUP BY {", ".join(_KEY)}, currency
    )
    GROUP BY {", ".join(_KEY)}
) AS u LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = u.cluster
ORDER BY total DESC, cluster_title, model_title, agreement LIMIT 200""",
    grid=Grid(0, 40, 24, 11),
    limit=200,
    columns=(
        Column("cluster_title", Text("Cluster", "Grappe"), link=RowLink(FLEET, {"cluster": "cluster"})),
        Column("model_title", Text("Model", "Modèle"), link=RowLink(UID, {"model": "model"})),
        Column(
            "agreement_title", Text("Agreement", "Entente"), link=RowLink(AGREEMENT_DETAIL, {"agreement": "agreement"})
        ),
        Column("gpu_hours", Text("Device time", "Temps d’appareil"), GPU_HOURS),
        Column("tokens", Text("Prompt and output", "Entrée et sortie"), TOKENS),
        Column("total", Text("Cost", "Coût"), MONEY),
        Column("used", Text("Usage cost", "Coût d’usage"), MONEY),
        Column("paid", Text("Subsidy", "Subvention"), MONEY),
        Column("per_mtok", Text("Per 1M tokens", "Par million"), MONEY_PER_MTOK, thresholds=_TARGET),
        Column("per_mtok_output", Text("Per 1M output", "Par million (sortie)"), MONEY_PER_MTOK),
        Column("j_per_token", Text("Energy", "Énergie"), JOULES_PER_TOKEN),
        Column("busy", Text("Busy", "Occupé"), SHARE, gauge=True),
        Column("other", Text("Other currencies", "Autres devises"), words={"": Text("none", "aucune")}),
    ),
)

DASHBOARD = Dashboard(
    uid=UID,
    title=Text("Unit economics", "Coûts unitaires"),
    question=Text(
        "What does a million tokens cost, where, and why?",
        "Combien coûte un million de jetons, où, et pourquoi ?",
    ),
    variables=(PROGRAMME, AGREEMENT, CLUSTER, MODEL, CURRENCY),
    panels=(*_TILES, *_CHARTS, _COSTS, open_alerts_panel(18, Grid(0, 51, 24, 8), *_VARIABLES)),
    freshness_sql=FRESHNESS_SQL,
    annotations=(alert_annotation((UID,), *_VARIABLES), price_annotation("cluster")),
)
