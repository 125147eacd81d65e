"""The rules that alerts follow, defined once: the stream's, Grafana's, and the table in docs/alerts.md.

A rule's condition is computed where its data are (streams.alerting, streams.alert_rates; audits in compose); its
threshold is a setting of section `[alerts]` of the configuration, or fixed. What is the same wherever it is evaluated
is here: how bad it is, how long it must hold, how far it must go back before it ends, and what to look at.
"""

from dataclasses import dataclass

from schemas.texts import Text


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One rule."""

    id: str
    title: Text
    severity: str
    """critical: somebody has to act now; warning: within the day; info: to know."""
    advice: Text
    """What to look at and what to do, in a sentence or two."""
    dashboard: str
    """Uid of the dashboard that explains it."""
    panel: str
    """Name of the panel there."""
    setting: str | None = None
    """Its threshold: name in `schemas.config_alerts.Alerts`; None: fixed, or the cluster's or agreement's own."""
    for_s: float = 0.0
    """The condition must hold for so long before the alert fires."""
    keep_s: float = 0.0
    """The alert goes on for so long after the condition was last seen: a matter that comes and goes is one alert."""
    clears_at: float = 1.0
    """Hysteresis: once firing, the condition counts as holding until the value is back at this part of the threshold
    (below 1 where high values are bad, above 1 where low ones are)."""
    hidden_by: tuple[str, ...] = ()
    """While one of these fires about the same cluster, this rule says nothing about that cluster: it is the same
    matter, seen from below. What was open stays open."""


_CLUSTER = ("cluster_silent",)
_COLLECTOR = ("cluster_silent", "collector_silent")

_BUDGET_ADVICE = Text(
    "Compare the burn-down with the plan. If the money is meant to last until the end of the agreement, talk to the "
    "recipient about its use, or decide about the cap before it is reached.",
    "Comparez la dépense avec le plan. Si l’argent doit durer jusqu’à la fin de l’entente, parlez au bénéficiaire de "
    "son utilisation, ou décidez du plafond avant qu’il soit atteint.",
)


def _budget(percent: int, severity: str, advice: Text = _BUDGET_ADVICE) -> AlertRule:
    return AlertRule(
        f"budget_{percent}",
        Text(f"{percent}% of the cap used", f"{percent} % du plafond utilisé"),
        severity,
        advice,
        "cw-agreement",
        "burn-down",
        clears_at=0.995,
    )


RULES: tuple[AlertRule, ...] = (
    _budget(50, "info"),
    _budget(80, "warning"),
    _budget(90, "critical"),
    _budget(
        100,
        "critical",
        Text(
            "The programme pays nothing more under this agreement: from now on the recipient bears the whole cost. "
            "Tell the recipient today, and decide whether the cap is raised.",
            "Le programme ne paie plus rien au titre de cette entente : dès maintenant, le bénéficiaire assume tout le "
            "coût. Prévenez le bénéficiaire aujourd’hui et décidez si le plafond est relevé.",
        ),
    ),
    AlertRule(
        "burn_fast",
        Text("Money burns many times too fast", "L’argent part beaucoup trop vite"),
        "critical",
        Text(
            "Over the last hour and still now. Look at which workloads started in that hour, and ask the recipient "
            "whether they are meant; a runaway job is stopped at its cluster.",
            "Depuis une heure et encore maintenant. Voyez quels travaux ont commencé pendant cette heure et demandez "
            "au bénéficiaire s’ils sont voulus ; un travail qui s’emballe s’arrête à sa grappe.",
        ),
        "cw-agreement",
        "workloads",
        setting="burn_fast",
        keep_s=300.0,
        clears_at=0.9,
    ),
    AlertRule(
        "burn_slow",
        Text("Money burns faster than it lasts", "L’argent part plus vite qu’il ne dure"),
        "warning",
        Text(
            "Over the last three days and the last six hours. Compare the burn-down with the plan, and agree with the "
            "recipient on less use, a later start of new work, or a change of the cap.",
            "Depuis trois jours et encore depuis six heures. Comparez la dépense avec le plan et convenez avec le "
            "bénéficiaire d’une utilisation moindre, d’un début plus tardif des nouveaux travaux ou d’un autre "
            "plafond.",
        ),
        "cw-agreement",
        "burn-down",
        setting="burn_slow",
        keep_s=1800.0,
        clears_at=0.9,
    ),
    AlertRule(
        "cost_per_mtok",
        Text("Cost per 1M tokens above the band", "Coût par million de jetons au-dessus de la fourchette"),
        "warning",
        Text(
            "Look at what changed: fewer tokens on the same devices (low load, small batches), or dearer devices and "
            "electricity. Fewer replicas for the same load bring the cost down.",
            "Voyez ce qui a changé : moins de jetons sur les mêmes appareils (faible charge, petits lots), ou des "
            "appareils et une électricité plus chers. Moins de répliques pour la même charge réduisent le coût.",
        ),
        "cw-unit-economics",
        "cost-per-mtok-by-model",
        setting="cost_per_mtok_high",
        for_s=60.0,
        keep_s=120.0,
        clears_at=0.95,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "tokens_dropped",
        Text("Token rate dropped while power stays", "Débit de jetons en chute, puissance inchangée"),
        "warning",
        Text(
            "Devices draw power as before and yield far fewer tokens. Look at the engine’s log and queue (requests "
            "that hang, a crash loop), then at its exporter: tokens that are produced and not counted look the same.",
            "Les appareils consomment comme avant et produisent bien moins de jetons. Voyez le journal et la file du "
            "moteur (requêtes bloquées, redémarrages en boucle), puis son exportateur : des jetons produits mais non "
            "comptés ont la même apparence.",
        ),
        "cw-unit-economics",
        "tokens-per-second",
        setting="tokens_drop_to",
        for_s=60.0,
        keep_s=120.0,
        clears_at=1.2,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "tokens_without_energy",
        Text("Tokens without energy", "Jetons sans énergie"),
        "warning",
        Text(
            "More tokens are claimed than the metered energy can have made. Check which devices belong to the "
            "deployment (its match in the configuration), and whether their exporters answer; until then its cost per "
            "token is too low.",
            "Il y a plus de jetons déclarés que l’énergie mesurée n’a pu en produire. Vérifiez quels appareils "
            "appartiennent au déploiement (son « match » dans la configuration) et si leurs exportateurs répondent ; "
            "d’ici là, son coût par jeton est trop bas.",
        ),
        "cw-unit-economics",
        "energy-by-model",
        setting="energy_per_token_least_j",
        for_s=60.0,
        keep_s=120.0,
        clears_at=2.0,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "energy_without_tokens",
        Text("Energy without tokens", "Énergie sans jetons"),
        "warning",
        Text(
            "Devices of the deployment are busy and no token is counted. Check whether its engine’s or gateway’s "
            "exporter answers and whether its series name the model as the configuration does; else the devices do "
            "other work than the deployment’s.",
            "Les appareils du déploiement travaillent et aucun jeton n’est compté. Vérifiez si l’exportateur du moteur "
            "ou de la passerelle répond et si ses séries nomment le modèle comme la configuration ; sinon, ces "
            "appareils font un autre travail que celui du déploiement.",
        ),
        "cw-unit-economics",
        "energy-by-model",
        setting="busy_without_tokens",
        for_s=60.0,
        keep_s=120.0,
        clears_at=0.5,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "allocated_idle",
        Text("Devices held but idle", "Appareils réservés mais inactifs"),
        "warning",
        Text(
            "These devices are paid for and do nothing. Ask who holds them whether the job hangs or has ended, and "
            "release them; the money at stake is their cost.",
            "Ces appareils sont payés et ne font rien. Demandez à qui les réserve si le travail est bloqué ou terminé, "
            "et libérez-les ; la somme en jeu est leur coût.",
        ),
        "cw-fleet",
        "idle-devices",
        setting="idle_for",
        keep_s=60.0,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "over_temperature",
        Text("Devices too hot", "Appareils trop chauds"),
        "critical",
        Text(
            "Check cooling and airflow of the node, and move work away from it: a device this hot slows itself down, "
            "then switches off.",
            "Vérifiez le refroidissement et la ventilation du nœud, et déplacez-en le travail : un appareil aussi "
            "chaud ralentit de lui-même, puis s’éteint.",
        ),
        "cw-fleet",
        "hottest",
        setting="hot_above_c",
        keep_s=60.0,
        clears_at=0.96,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "xid",
        Text("Devices report XID errors", "Des appareils signalent des erreurs XID"),
        "critical",
        Text(
            "Look the code up in NVIDIA’s list of XID errors and at the kernel log of the node. 48, 63, 64, 74, 79, 94 "
            "and 95 point at hardware: drain the node. 13, 31, 43 and 45 mostly come from the work that ran.",
            "Cherchez le code dans la liste des erreurs XID de NVIDIA et dans le journal du noyau du nœud. 48, 63, 64, "
            "74, 79, 94 et 95 indiquent le matériel : videz le nœud. 13, 31, 43 et 45 viennent surtout du travail en "
            "cours.",
        ),
        "cw-fleet",
        "open-alerts",
        keep_s=60.0,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "power_cap",
        Text("Cluster above its power cap", "Grappe au-dessus de son plafond de puissance"),
        "critical",
        Text(
            "The facility draws more than power_cap_kw of the cluster allows. Lower the power limit of devices or "
            "pause work that can wait, before the site’s protection does.",
            "L’installation dépasse la puissance permise par power_cap_kw de la grappe. Abaissez la limite de "
            "puissance d’appareils ou suspendez le travail qui peut attendre, avant que la protection du site ne le "
            "fasse.",
        ),
        "cw-fleet",
        "power-by-cluster",
        keep_s=120.0,
        clears_at=0.97,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "exporter_silent",
        Text("Exporters do not answer", "Des exportateurs ne répondent pas"),
        "warning",
        Text(
            "Open the exporter’s address from the collector’s machine. What it would have told is missing; energy and "
            "tokens of a short silence are made good from the counters when it is back.",
            "Ouvrez l’adresse de l’exportateur depuis la machine du collecteur. Ce qu’il aurait indiqué manque ; "
            "l’énergie et les jetons d’un court silence sont rattrapés par les compteurs à son retour.",
        ),
        "cw-metering-health",
        "defects",
        for_s=30.0,
        keep_s=30.0,
        hidden_by=_COLLECTOR,
    ),
    AlertRule(
        "collector_silent",
        Text("Collector silent", "Collecteur silencieux"),
        "critical",
        Text(
            "Others of the cluster are heard, so look at the collector itself: its process, its disk, its way to "
            "Kafka. While only Kafka is out of its reach it keeps its samples on disk and sends them later.",
            "D’autres de la grappe sont entendus ; voyez donc le collecteur lui-même : son processus, son disque, son "
            "accès à Kafka. Tant que seul Kafka est hors d’atteinte, il garde ses échantillons sur disque et les "
            "envoie plus tard.",
        ),
        "cw-metering-health",
        "freshness",
        setting="silent_after",
        keep_s=30.0,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "cluster_silent",
        Text("Cluster silent", "Grappe silencieuse"),
        "critical",
        Text(
            "Nothing of the cluster is metered. Look at its collector and its way to Kafka first, then at exporters "
            "and the cluster itself; the money at stake is what it ran before.",
            "Rien de la grappe n’est mesuré. Voyez d’abord son collecteur et son accès à Kafka, puis les exportateurs "
            "et la grappe elle-même ; la somme en jeu est ce qu’elle coûtait auparavant.",
        ),
        "cw-metering-health",
        "freshness",
        setting="silent_after",
        keep_s=30.0,
    ),
    AlertRule(
        "counter_frozen",
        Text("Energy counters frozen", "Compteurs d’énergie figés"),
        "warning",
        Text(
            "The devices draw power and their energy counters stand still, so their energy is counted too low. Restart "
            "the exporter, then reset the device’s driver; remember the hours for a correction.",
            "Les appareils consomment et leurs compteurs d’énergie n’avancent pas ; leur énergie est donc "
            "sous-estimée. Redémarrez l’exportateur, puis réinitialisez le pilote ; notez les heures en vue d’une "
            "correction.",
        ),
        "cw-metering-health",
        "defects",
        setting="counter_frozen_for",
        keep_s=60.0,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "clock_skew",
        Text("Clock of a collector wrong", "Horloge d’un collecteur fausse"),
        "warning",
        Text(
            "Samples are stamped later than they arrive, or the clock of the collector’s machine was set. Mend its "
            "time synchronisation (chrony, NTP); until then usage is booked to the wrong minutes.",
            "Des échantillons sont datés après leur arrivée, ou l’horloge de la machine du collecteur a été réglée. "
            "Corrigez sa synchronisation (chrony, NTP) ; d’ici là, l’usage est porté aux mauvaises minutes.",
        ),
        "cw-metering-health",
        "arrival-delay",
        setting="clock_skew_above",
        for_s=30.0,
        keep_s=60.0,
        clears_at=0.8,
        hidden_by=_COLLECTOR,
    ),
    AlertRule(
        "lag",
        Text("Usage arrives late", "L’usage arrive en retard"),
        "warning",
        Text(
            "Data come, and late. Either a collector empties its spool after an interruption (wait), or the workers do "
            "not keep up: look at the lag of their consumer group and at ClickHouse.",
            "Les données arrivent, mais tard. Soit un collecteur vide sa réserve après une interruption (attendez), "
            "soit les travailleurs ne suivent pas : voyez le retard de leur groupe de consommateurs et ClickHouse.",
        ),
        "cw-metering-health",
        "arrival-delay",
        setting="lag_above",
        for_s=30.0,
        keep_s=60.0,
        clears_at=0.5,
        hidden_by=_CLUSTER,
    ),
    AlertRule(
        "quarantine",
        Text("Messages in quarantine", "Messages en quarantaine"),
        "warning",
        Text(
            "Messages that could not be read wait there with the reason; their usage is missing. See them with "
            "commonwatt quarantine list, mend the cause, then commonwatt quarantine replay.",
            "Des messages illisibles y attendent avec la raison ; leur usage manque. Voyez-les avec commonwatt "
            "quarantine list, corrigez la cause, puis commonwatt quarantine replay.",
        ),
        "cw-metering-health",
        "quarantine",
    ),
    AlertRule(
        "tally_differs",
        Text("Running tally differs from the book", "Le décompte courant diffère du livre"),
        "critical",
        Text(
            "Figures on the dashboards and the ledger disagree; trust the ledger. commonwatt check names the minutes; "
            "a restart of the worker builds its tally anew from the book.",
            "Les chiffres des tableaux de bord et le livre ne concordent pas ; fiez-vous au livre. commonwatt check "
            "nomme les minutes ; un redémarrage du travailleur refait son décompte à partir du livre.",
        ),
        "cw-metering-health",
        "open-alerts",
    ),
    AlertRule(
        "coverage",
        Text("Coverage too low", "Couverture trop faible"),
        "warning",
        Text(
            "Devices that reported within the last hour are missing for part of the time. Look at which exporters are "
            "late or gone; what nobody measured is charged to nobody.",
            "Des appareils vus depuis une heure manquent une partie du temps. Voyez quels exportateurs tardent ou ont "
            "disparu ; ce que personne n’a mesuré n’est facturé à personne.",
        ),
        "cw-metering-health",
        "coverage-by-cluster",
        setting="coverage_below",
        keep_s=60.0,
        clears_at=1.005,
        hidden_by=_COLLECTOR,
    ),
    AlertRule(
        "check_failed",
        Text("An audit of the book fails", "Une vérification du livre échoue"),
        "critical",
        Text(
            "A promise about the ledger does not hold for the rows named. Run commonwatt check for all of them, and "
            "send out no statement of these hours before it is explained.",
            "Une promesse au sujet du livre n’est pas tenue pour les lignes nommées. Lancez commonwatt check pour les "
            "voir toutes, et n’envoyez aucun relevé de ces heures avant d’avoir l’explication.",
        ),
        "cw-metering-health",
        "open-alerts",
    ),
)

BY_ID = {rule.id: rule for rule in RULES}
