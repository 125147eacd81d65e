"""Agreement detail: what one agreement pays for, how fast its money goes, and when it is gone. For finance."""

from dashboards.boards import budget
from dashboards.boards.common import (
    AGREEMENT,
    AGREEMENT_DETAIL,
    CLUSTER_NAMES,
    CURRENCY,
    FLEET,
    FRESHNESS_SQL,
    PROGRAMME,
    SERVES,
    TARGET_HIGH,
    TARGET_LOW,
    UNIT_ECONOMICS,
    chosen,
    costs,
    only,
    programme_name,
    ratio,
    totals,
    words,
)
from dashboards.boards.shared import (
    alert_annotation,
    cap_annotation,
    figure_at,
    newest_panel,
    observed_panel,
    open_alerts_panel,
    price_annotation,
)
from dashboards.model import Column, Dashboard, Grid, Kind, Panel, RowLink
from dashboards.units import (
    AMOUNT,
    AMOUNT_PER_MTOK,
    COUNT,
    GPU_HOURS,
    JOULES_PER_TOKEN,
    MOMENT,
    MONEY,
    MONEY_PER_MTOK,
    SHARE,
    TOKENS,
)
from schemas.texts import Text

UID = AGREEMENT_DETAIL
WORKLOAD_HOURS = 24

_TOKENS = "(prompt_tokens + generation_tokens)"
_CHOSEN = f"agreement != '' AND {chosen(*budget.FILTERS)}"
_NO_TOKENS = Text("No tokens in this range yet.", "Aucun jeton dans cette période pour l’instant.")
_OF_PROGRAMME = (
    "$__conditionalAll(agreement IN (SELECT id FROM agreements FINAL WHERE programme IN (${programme:singlequote})), "
    "$programme)"
)

_COST_PER_MTOK = Panel(
    id=6,
    grid=figure_at(5),
    name="cost-per-mtok",
    kind=Kind.STAT,
    title=Text("Cost per 1M tokens", "Coût par million de jetons"),
    description=Text(
        "Cost of the devices that serve models under the chosen agreements, idle moments included, per million prompt "
        f"and output tokens of the range. The national target is {TARGET_LOW:.2f} to {TARGET_HIGH:.2f} CAD. Above it: "
        "find the model or cluster below.",
        "Coût des appareils qui servent des modèles pour les ententes choisies, moments inactifs compris, par million "
        f"de jetons d’entrée et de sortie de la période. La cible nationale est de {TARGET_LOW:.2f} à "
        f"{TARGET_HIGH:.2f} CAD. Au-dessus : cherchez le modèle ou la grappe ci-dessous.",
    ),
    unit=MONEY_PER_MTOK,
    sql=f"SELECT {ratio('cost', _TOKENS, ' * 1e6')} AS value\n"
    f"FROM {costs(['cost', 'prompt_tokens', 'generation_tokens'], budget.OWN, SERVES)}",
    empty=_NO_TOKENS,
    link=UNIT_ECONOMICS,
)

_SPENT = Panel(
    id=10,
    name="spent-per-day",
    kind=Kind.TIMESERIES,
    title=Text("Who pays, per interval", "Qui paie, par intervalle"),
    description=Text(
        "Cost of the chosen agreements in each interval of the range (minutes to days, by its length): what the "
        "programme pays and what the recipient pays, stacked. The newest interval is still filling. When the "
        "recipient's part grows, a cap was reached or work moved to where the programme pays less.",
        "Coût des ententes choisies dans chaque intervalle de la période (de la minute au jour, selon sa longueur) : "
        "ce que paient le programme et le bénéficiaire, empilé. L’intervalle le plus récent se remplit encore. Quand "
        "la part du bénéficiaire croît, un plafond est atteint ou le travail a changé de lieu.",
    ),
    unit=MONEY,
    stacked=True,
    sql=f"""SELECT time, part.1 AS series, part.2 AS value
FROM (
    SELECT $__timeInterval(at) AS time, arrayJoin([({words(Text("Programme", "Programme"))}, sum(subsidy)),
        ({words(Text("Recipient", "Bénéficiaire"))}, sum(charge))]) AS part
    FROM {costs(["subsidy", "charge"], budget.OWN)}
    GROUP BY time
)
ORDER BY time, series""",
    grid=Grid(0, 14, 8, 9),
    empty=budget.NO_SUBSIDY,
)

_TOKENS_BY_MODEL = Panel(
    id=11,
    name="tokens",
    kind=Kind.TIMESERIES,
    title=Text("Tokens per interval, by model", "Jetons par intervalle, par modèle"),
    description=Text(
        "Prompt and output tokens of the chosen agreements in each interval, stacked by model. When they fall while "
        "the money goes on, devices are held without work: ask the recipient.",
        "Jetons d’entrée et de sortie des ententes choisies dans chaque intervalle, empilés par modèle. S’ils baissent "
        "et que l’argent continue de partir, des appareils sont tenus sans travail : demandez au bénéficiaire.",
    ),
    unit=TOKENS,
    stacked=True,
    sql=f"""SELECT $__timeInterval(at) AS time, toString(model) AS series, sum({_TOKENS}) AS value
FROM {costs(["model", "prompt_tokens", "generation_tokens"], _CHOSEN, SERVES)}
GROUP BY time, series
ORDER BY time, series""",
    grid=Grid(8, 14, 8, 9),
    empty=_NO_TOKENS,
    link=UNIT_ECONOMICS,
)

_HOURS_BY_CLUSTER = Panel(
    id=12,
    name="device-hours",
    kind=Kind.TIMESERIES,
    title=Text("Device hours per interval, by cluster", "Heures d’appareil par intervalle, par grappe"),
    description=Text(
        "Hours of whole devices that were held under the chosen agreements in each interval, stacked by cluster. "
        "Compare with the tokens beside it, and with what the agreement grants.",
        "Heures d’appareils entiers tenus au titre des ententes choisies dans chaque intervalle, empilées par grappe. "
        "Comparez aux jetons à côté, et à ce que l’entente accorde.",
    ),
    unit=GPU_HOURS,
    stacked=True,
    sql=f"""SELECT time, if(c.cluster_name = '', u.cluster, c.cluster_name) AS series,
    toFloat64(sum(held_s)) / 3600 AS value
FROM (
    SELECT $__timeInterval(at) AS time, cluster, sum(gpu_seconds) AS held_s
    FROM {costs(["cluster", "gpu_seconds"], _CHOSEN)}
    GROUP BY time, cluster
) AS u LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = u.cluster
GROUP BY time, series
ORDER BY time, series""",
    grid=Grid(16, 14, 8, 9),
    empty=Text("No device was held in this range.", "Aucun appareil n’a été tenu dans cette période."),
    link=FLEET,
)

_TERMS = Panel(
    id=13,
    name="terms",
    kind=Kind.TABLE,
    title=Text("Terms", "Conditions"),
    description=Text(
        "What the chosen agreements say now: which part of the cost the programme pays, up to which cap, by which "
        "plan, and from when to when. Figures that surprise begin here: compare them with the signed agreement.",
        "Ce que disent maintenant les ententes choisies : quelle part du coût le programme paie, jusqu’à quel plafond, "
        "selon quel plan, et de quand à quand. Un chiffre qui surprend se vérifie d’abord ici, face à l’entente "
        "signée.",
    ),
    sql=f"""SELECT recipient, id AS agreement, {programme_name("programme")} AS programme_name, rule,
    multiIf(rule = 'cost_share', concat(JSONExtractString(terms, 'share'),
            if(JSONExtractString(terms, 'elsewhere') IN ('', '0'), '',
                concat({words(Text(", elsewhere ", ", ailleurs "))}, JSONExtractString(terms, 'elsewhere'))),
            if(JSONExtractString(terms, 'elsewhere_until') = '', '',
                concat({words(Text(" until ", " jusqu’au "))}, JSONExtractString(terms, 'elsewhere_until')))),
        rule = 'token_price', if(JSONExtractString(terms, 'per_mtok') != '',
            concat(JSONExtractString(terms, 'per_mtok'), {words(Text(" per Mtok", " par Mjetons"))}),
            concat({words(Text("prompt ", "entrée "))}, JSONExtractString(terms, 'prompt_per_mtok'),
                {words(Text(", output ", ", sortie "))}, JSONExtractString(terms, 'output_per_mtok'),
                {words(Text(" per Mtok", " par Mjetons"))})),
        JSONExtractString(terms, 'unit') IN ('gpu_hours', 'rgu_hours'),
            concat(JSONExtractString(terms, 'quantity'), if(JSONExtractString(terms, 'unit') = 'gpu_hours',
                ' GPU-h', ' RGU-h')), '') AS share,
    p.currency AS currency, cap, spent_before,
    arrayStringConcat(arrayMap(point -> concat(JSONExtractString(point, 'on'), '\u00a0: ',
        JSONExtractString(point, 'spent')), JSONExtractArrayRaw(plan)), ', ') AS planned,
    toString(a.starts) AS first_day, toString(a.ends) AS last_day, after
FROM (SELECT * FROM agreements FINAL WHERE {only("id", "agreement")} AND {only("programme", "programme")}) AS a
LEFT JOIN (SELECT id, name_en, name_fr, currency FROM programmes FINAL) AS p ON p.id = a.programme
ORDER BY recipient, agreement LIMIT 100""",
    grid=Grid(0, 23, 24, 5),
    bounded="now",
    limit=100,
    columns=(
        Column("recipient", Text("Recipient", "Bénéficiaire")),
        Column("programme_name", Text("Programme", "Programme")),
        Column("rule", Text("Rule", "Règle"), words=budget.RULE_WORDS),
        Column("share", Text("Pays", "Paie")),
        Column("currency", Text("Currency", "Devise")),
        Column("cap", Text("Cap", "Plafond"), AMOUNT),
        Column("spent_before", Text("Spent before", "Dépensé avant"), AMOUNT),
        Column("planned", Text("Plan", "Plan"), words={"": Text("straight line", "ligne droite")}),
        Column("first_day", Text("From", "Du")),
        Column("last_day", Text("To", "Au")),
        Column("after", Text("Pays after", "Paie après"), words={"": Text("no other", "aucune autre")}),
    ),
    empty=budget.NO_AGREEMENT,
)

_TABLE = (
    "cluster", "model", "agreement", "currency", "gpu_seconds", "energy_j", "cost", "subsidy", "prompt_tokens",
    "generation_tokens",
)  # fmt: skip
_COSTS = Panel(
    id=14,
    name="cost-by-model",
    kind=Kind.TABLE,
    title=Text("Cost by model and cluster", "Coût par modèle et grappe"),
    description=Text(
        "Totals of the range under the chosen agreements, dearest first, each in its own currency. Cost counts "
        "allocated time. Follow a model to see what its tokens cost there, and why.",
        "Totaux de la période au titre des ententes choisies, les plus chers d’abord, chacun dans sa devise. Le coût "
        "compte le temps alloué. Suivez un modèle pour voir ce que coûtent ses jetons, et pourquoi.",
    ),
    sql=f"""SELECT if(model = '', {words(Text("no model", "aucun modèle"))}, model) AS model_title,
    if(c.cluster_name = '', cluster, c.cluster_name) AS cluster_title, agreement, cluster, model, gpu_hours, tokens,
    currency, total, paid, per_mtok, j_per_token
FROM (
    SELECT agreement, model, cluster, currency, sum(gpu_seconds) / 3600 AS gpu_hours, sum({_TOKENS}) AS tokens,
        sum(cost) AS total, sum(subsidy) AS paid, {ratio("cost", _TOKENS, " * 1e6")} AS per_mtok,
        {ratio("energy_j", _TOKENS)} AS j_per_token
    FROM {totals(_TABLE, _CHOSEN)}
    GROUP BY agreement, model, cluster, currency
    ORDER BY total DESC, model, cluster, agreement LIMIT 200
) AS u LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = u.cluster
ORDER BY total DESC, model_title, cluster_title, agreement LIMIT 200""",
    grid=Grid(0, 28, 24, 9),
    limit=200,
    columns=(
        Column(
            "model_title",
            Text("Model", "Modèle"),
            link=RowLink(UNIT_ECONOMICS, {"model": "model", "cluster": "cluster", "agreement": "agreement"}),
        ),
        Column("cluster_title", Text("Cluster", "Grappe")),
        Column("agreement", Text("Agreement", "Entente")),
        Column("gpu_hours", Text("Device time", "Temps d’appareil"), GPU_HOURS),
        Column("tokens", Text("Prompt and output", "Entrée et sortie"), TOKENS),
        Column("currency", Text("Currency", "Devise")),
        Column("total", Text("Cost", "Coût"), AMOUNT),
        Column("paid", Text("Subsidy", "Subvention"), AMOUNT),
        Column("per_mtok", Text("Per 1M tokens", "Par million"), AMOUNT_PER_MTOK),
        Column("j_per_token", Text("Energy", "Énergie"), JOULES_PER_TOKEN),
    ),
)

_WORKLOADS = Panel(
    id=15,
    name="workloads",
    kind=Kind.TABLE,
    title=Text("Workloads", "Travaux"),
    description=Text(
        f"What held devices under the chosen agreements, dearest first, in the last {WORKLOAD_HOURS} hours of the "
        "range at most, by whole hours. Deployments that several agreements share are not in it. Follow a workload to "
        "its cluster in the hours that it ran; one that is hardly busy is worth a question.",
        "Ce qui a tenu des appareils au titre des ententes choisies, les plus chers d’abord, dans les "
        f"{WORKLOAD_HOURS} dernières heures de la période au plus, par heures entières. Les déploiements partagés "
        "entre ententes n’y sont pas. Suivez un travail vers sa grappe aux heures où il tournait ; un travail peu "
        "occupé mérite une question.",
    ),
    sql=f"""SELECT workload, if(any(c.cluster_name) = '', h.cluster, any(c.cluster_name)) AS cluster_title,
    h.cluster AS cluster, agreement, uniqExact(device) AS devices, sum(h.gpu_seconds) / 3600 AS gpu_hours,
    {ratio("h.busy_seconds", "h.busy_known_seconds")} AS busy, currency, sum(h.cost) AS total,
    min(period_start) AS first, max(period_start) + INTERVAL 1 HOUR AS last,
    toUnixTimestamp(first) * 1000 AS from_ms, toUnixTimestamp(last) * 1000 AS to_ms
FROM gpu_usage_hourly AS h LEFT JOIN {CLUSTER_NAMES} AS c ON c.id = h.cluster
WHERE period_start >= greatest(toStartOfHour($__fromTime), {budget.UPTO} - INTERVAL {WORKLOAD_HOURS} HOUR)
    AND period_start <= $__toTime AND workload != '' AND agreement != '' AND {only("agreement", "agreement")}
    AND {_OF_PROGRAMME}
GROUP BY workload, h.cluster, agreement, currency
ORDER BY total DESC, workload, h.cluster, agreement LIMIT 100""",
    grid=Grid(0, 37, 24, 9),
    bounded="end",
    limit=100,
    columns=(
        Column(
            "workload",
            Text("Workload", "Travail"),
            link=RowLink(
                FLEET,
                {"cluster": "cluster", "agreement": "agreement"},
                from_column="from_ms",
                to_column="to_ms",
            ),
        ),
        Column("cluster_title", Text("Cluster", "Grappe")),
        Column("agreement", Text("Agreement", "Entente")),
        Column("devices", Text("Devices", "Appareils"), COUNT),
        Column("gpu_hours", Text("Device time", "Temps d’appareil"), GPU_HOURS),
        Column("busy", Text("Busy", "Occupé"), SHARE, gauge=True),
        Column("currency", Text("Currency", "Devise")),
        Column("total", Text("Cost", "Coût"), AMOUNT),
        Column("first", Text("From", "De"), MOMENT),
        Column("last", Text("To", "À"), MOMENT),
    ),
    empty=Text(
        f"No workload held a device in the last {WORKLOAD_HOURS} hours of the range.",
        f"Aucun travail n’a tenu d’appareil dans les {WORKLOAD_HOURS} dernières heures de la période.",
    ),
)

DASHBOARD = Dashboard(
    uid=UID,
    title=Text("Agreement detail", "Entente en détail"),
    question=Text(
        "What does this agreement pay for, and how long does its money last?",
        "Que paie cette entente, et combien de temps son argent durera-t-il ?",
    ),
    variables=(PROGRAMME, AGREEMENT, CURRENCY),
    panels=(
        budget.spent(1, figure_at(0)),
        budget.remaining(2, figure_at(1)),
        budget.used(3, figure_at(2)),
        budget.burn_rate(4, figure_at(3)),
        budget.gone(5, figure_at(4), "runs-out", Text("Runs out", "S’épuise")),
        _COST_PER_MTOK,
        observed_panel(7, 6),
        newest_panel(8, 7),
        budget.burn_down(9, Grid(0, 4, 24, 10)),
        _SPENT,
        _TOKENS_BY_MODEL,
        _HOURS_BY_CLUSTER,
        _TERMS,
        _COSTS,
        _WORKLOADS,
        open_alerts_panel(16, Grid(0, 46, 24, 8), *budget.FILTERS),
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
