"""The texts of a statement, each in English and French."""

from compose.finance.statement.typography import NBSP, Language

_COLON = f"{NBSP}:"

_TEXTS: dict[str, tuple[str, str]] = {
    "colon": (":", "{colon}"),
    # head
    "statement": ("Statement", "Relevé"),
    "number": ("Number", "Numéro"),
    "edition": ("edition {edition}", "édition {edition}"),
    "recipient": ("Recipient", "Bénéficiaire"),
    "programme": ("Programme", "Programme"),
    "agreement": ("Agreement", "Entente"),
    "agreement_term": ("{id}, {starts} to {ends}", "{id}, du {starts} au {ends}"),
    "period": ("Period", "Période"),
    "period_days": ("{first} to {last}", "du {first} au {last}"),
    "status": ("Status", "État"),
    "closed": ("closed on {moment}", "clos le {moment}"),
    "open": ("open, provisional figures", "ouvert, chiffres provisoires"),
    "recorded_until": ("As recorded until", "Selon le registre au"),
    "rule": ("Rule", "Règle"),
    "currency": ("Currency", "Monnaie"),
    # key figures
    "cost": ("Cost", "Coût"),
    "programme_pays": ("Programme pays", "Le programme paie"),
    "recipient_pays": ("Recipient pays", "Le bénéficiaire paie"),
    "relief": ("Change of recipient’s part", "Effet sur sa part"),
    "spent": ("Subsidy until the end of the month", "Subvention jusqu’à la fin du mois"),
    "spent_before": ("Spent before this month", "Dépensé avant ce mois"),
    "spent_month": ("Spent in this month", "Dépensé ce mois"),
    "spent_total": ("Spent in total", "Dépensé au total"),
    "amount": ("Amount", "Montant"),
    "cap": ("Cap", "Plafond"),
    "remaining": ("Remaining", "Solde"),
    "used_share": ("Used", "Utilisé"),
    "planned": ("Planned until then", "Prévu à cette date"),
    "granted": ("Granted", "Accordé"),
    "granted_used": ("Granted, used until then", "Accordé, utilisé à cette date"),
    "granted_left": ("Granted, left", "Accordé, restant"),
    "gpu_hours": ("GPU-hours", "heures-GPU"),
    "rgu_hours": ("RGU-hours", "heures-UGR"),
    # lines
    "usage": ("Usage", "Utilisation"),
    "what": ("What", "Objet"),
    "cluster": ("Cluster", "Grappe"),
    "deployment": ("Deployment or workload", "Déploiement ou charge"),
    "model": ("Model", "Modèle"),
    "job": ("job {job}", "tâche {job}"),
    "sku": ("Device", "Appareil"),
    "no_device": ("no device metered", "aucun appareil mesuré"),
    "line_rule": ("Rule", "Règle"),
    "price": ("Price", "Prix"),
    "prompt": ("prompt tokens", "jetons d’entrée"),
    "cached": ("of these cached", "dont en cache"),
    "output": ("output tokens", "jetons de sortie"),
    "kwh": ("kWh", "kWh"),
    "total_usage": ("Total of the month’s usage", "Total de l’utilisation du mois"),
    "total_corrections": ("Total of the corrections", "Total des corrections"),
    "total": ("Total", "Total"),
    "nothing": (
        "Nothing is booked for this agreement in this month.",
        "Rien n’est inscrit pour cette entente ce mois-ci.",
    ),
    "no_usage": ("No usage of this month is booked.", "Aucune utilisation de ce mois n’est inscrite."),
    "cents": (
        "Amounts are shown to the cent such that lines add up to totals, both parts to the cost, and month after month "
        "to what was spent: the programme’s total is what was spent until the end of this month less what was spent "
        "before it, each to the cent. The exact totals stand under “How to verify”.",
        "Les montants sont au cent près, de sorte que les lignes font les totaux, les deux parts le coût, et les mois "
        "ce qui est dépensé{colon} le total du programme est ce qui est dépensé à la fin de ce mois, moins ce qui "
        "l’était avant, chacun au cent près. Les totaux exacts sont sous «{nbsp}Comment vérifier{nbsp}».",
    ),
    "corrections": ("Corrections of earlier months", "Corrections de mois antérieurs"),
    "corrections_text": (
        "These months were closed, so what was found later is booked here.",
        "Ces mois étaient clos{colon} ce qui a été constaté plus tard est inscrit ici.",
    ),
    "reason": ("Reason", "Motif"),
    "reason_settled": ("settled", "réglé"),
    "reason_late": ("late data", "données tardives"),
    # rules
    "rule_cost_share": ("share {share}", "part {share}"),
    "rule_token_price": ("price per token", "prix par jeton"),
    "rule_credits": ("credits", "crédits"),
    "rule_not_in_force": ("not in force", "pas en vigueur"),
    # what lies under
    "evidence": ("What lies under these figures", "Ce sur quoi reposent ces chiffres"),
    "evidence_text": (
        "Energy of GPU time: by the device’s counter, integrated from its power, bridged over a silence, or not "
        "measured. Coverage: device time observed of that expected, in the hours of this statement.",
        "Énergie du temps GPU{colon} par le compteur de l’appareil, intégrée de sa puissance, pontée sur un silence, "
        "ou non mesurée. Couverture{colon} temps d’appareil observé sur celui attendu, dans les heures de ce relevé.",
    ),
    "counter": ("Counter", "Compteur"),
    "integrated": ("Integrated", "Intégrée"),
    "bridged": ("Bridged", "Pontée"),
    "unmeasured": ("Not measured", "Non mesurée"),
    "of_gpu_time": ("Share of GPU time", "Part du temps GPU"),
    "method": ("Energy", "Énergie"),
    "hours": ("Hours", "Heures"),
    "coverage": ("Coverage", "Couverture"),
    "hours_text": (
        "Hours with usage: {hours}, of these final: {final}, provisional: {provisional}.",
        "Heures avec utilisation{colon} {hours}, dont définitives{colon} {final}, provisoires{colon} {provisional}.",
    ),
    # changes
    "changes": ("Revisions since the first settlement", "Révisions depuis le premier règlement"),
    "no_changes": (
        "No hour was revised after its first settlement.",
        "Aucune heure n’a été révisée après son premier règlement.",
    ),
    "recorded": ("Recorded", "Inscrit"),
    "kind": ("Kind", "Nature"),
    "kind_revision": ("revision", "révision"),
    "kind_adjustment": ("adjustment of a closed month", "ajustement d’un mois clos"),
    "hours_changed": ("Hours changed", "Heures modifiées"),
    # support
    "support": ("Support from several agreements", "Soutien de plusieurs ententes"),
    "support_text": (
        "These agreements support the same usage, one after the other. After all support, the recipient pays {charge}.",
        "Ces ententes soutiennent la même utilisation, l’une après l’autre. Après tout soutien, le bénéficiaire paie "
        "{charge}.",
    ),
    "after_text": (
        "This agreement supports what “{after}” leaves, so its lines have no cost of their own and lower what the "
        "recipient pays.",
        "Cette entente soutient ce que «{nbsp}{after}{nbsp}» laisse{colon} ses lignes n’ont pas de coût propre et "
        "réduisent ce que paie le bénéficiaire.",
    ),
    # proof
    "verify": ("How to verify", "Comment vérifier"),
    "verify_totals": ("The exact totals, from the book:", "Les totaux exacts, tirés du registre{colon}"),
    "verify_again": ("This document again:", "Ce même document{colon}"),
    "verify_book": (
        "That the book tiles time and conserves money:",
        "Que le registre pave le temps et conserve l’argent{colon}",
    ),
    "verify_digest": (
        "Digest of the exact lines (SHA-256 of the rows under digest in the JSON statement, each ended by a newline):",
        "Empreinte des lignes exactes (SHA-256 des rangées sous digest du relevé JSON, chacune suivie d’un saut de "
        "ligne){colon}",
    ),
    "exact_totals": (
        "Exact: cost {cost}, programme {subsidy}, recipient {charge}.",
        "Exacts{colon} coût {cost}, programme {subsidy}, bénéficiaire {charge}.",
    ),
    "edition_text": (
        "Two statements with the same number and edition rest on the same entries of this agreement.",
        "Deux relevés de mêmes numéro et édition reposent sur les mêmes inscriptions de cette entente.",
    ),
    "page": ("page {page} of {pages}", "page {page} sur {pages}"),
}


class Words:
    """The texts in one language."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language
        self._column = 0 if language == "en" else 1

    def __call__(self, key: str, **values: object) -> str:
        """The text of that key, with its values. Raises KeyError for one that does not exist."""
        return _TEXTS[key][self._column].format(colon=_COLON, nbsp=NBSP, **values)

    def pick(self, english: str, french: str) -> str:
        """One of two texts that are written where they are needed."""
        return (english, french)[self._column]
