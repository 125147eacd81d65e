"""What an agreement says, in a sentence."""

from fractions import Fraction

from compose.finance.statement.typography import NBSP, day, money, plain
from compose.finance.statement.words import Words
from schemas.config import Agreement, CostShare, Credits, Programme, TokenPrice

_COUNTRIES = {
    "CA": ("in Canada", "au Canada"),
    "US": ("in the United States", "aux États-Unis"),
    "FR": ("in France", "en France"),
    "GB": ("in the United Kingdom", "au Royaume-Uni"),
}


def rule(agreement: Agreement, programme: Programme, words: Words) -> str:
    """The rule of an agreement, with what limits it besides the cap."""
    match agreement.rule:
        case CostShare() as terms:
            sentence = _cost_share(agreement, terms, words)
        case TokenPrice() as terms:
            sentence = _token_price(terms, programme.currency, words)
        case Credits() as terms:
            sentence = _credits(agreement, terms, programme.currency, words)
    limit = programme.stacking_limit
    if limit is not None and limit != 1:
        sentence += words.pick(
            f" All programmes together pay at most {limit} of the cost.",
            f" Tous les programmes ensemble paient au plus {limit} du coût.",
        )
    return sentence


def line_rule(label: str, words: Words) -> str:
    """The rule of a line of the book, such as ``cost_share 2/3``; one that is not known here stays as it is."""
    kind, _, detail = label.partition(" ")
    if kind == "cost_share" and detail:
        return words("rule_cost_share", share=detail)
    if kind == "credits":
        return words("rule_credits")
    return {"token_price": words("rule_token_price"), "not in force": words("rule_not_in_force")}.get(label, label)


def reason(text: str, words: Words) -> str:
    """A reason of the book; one that a person gave stays as it is."""
    return {"settled": words("reason_settled"), "late data": words("reason_late")}.get(text, text)


def _cost_share(agreement: Agreement, terms: CostShare, words: Words) -> str:
    base = words.pick("the cost", "du coût")
    if terms.of == "remainder":
        base = words.pick(
            f"what agreement “{agreement.after}” leaves",
            f"de ce que l’entente «{NBSP}{agreement.after}{NBSP}» laisse",
        )
    at_home = words.pick(*_COUNTRIES.get(agreement.country, (f"in {agreement.country}", f"dans {agreement.country}")))
    if terms.elsewhere == terms.share and terms.elsewhere_until is None:
        return words.pick(
            f"The programme pays {_share(terms.share, words)} {base}.",
            f"Le programme paie {_share(terms.share, words)} {base}.",
        )
    sentence = words.pick(
        f"The programme pays {_share(terms.share, words)} {base} {at_home}, {_elsewhere(terms.elsewhere, words)}",
        f"Le programme paie {_share(terms.share, words)} {base} {at_home}, {_elsewhere(terms.elsewhere, words)}",
    )
    if terms.elsewhere_until is not None:
        until = day(terms.elsewhere_until, words.language)
        sentence += words.pick(
            f" until {until} and nothing there afterwards", f" jusqu’au {until} et rien par la suite"
        )
    return sentence + "."


def _share(share: Fraction, words: Words) -> str:
    return words.pick("all of", "la totalité") if share == 1 else words.pick(f"{share} of", f"{share}")


def _elsewhere(share: Fraction, words: Words) -> str:
    return words.pick(
        "nothing elsewhere" if share == 0 else "all of it elsewhere" if share == 1 else f"{share} elsewhere",
        "rien ailleurs" if share == 0 else "la totalité ailleurs" if share == 1 else f"{share} ailleurs",
    )


def _token_price(terms: TokenPrice, currency: str, words: Words) -> str:
    prompt, cached, output = (money(plain(price, words.language), currency, words.language) for price in terms.prices)
    if terms.per_mtok is not None:
        return words.pick(
            f"The recipient pays at most {prompt} per million tokens, the programme the rest of the cost.",
            f"Le bénéficiaire paie au plus {prompt} par million de jetons, le programme le reste du coût.",
        )
    return words.pick(
        f"The recipient pays at most {prompt} per million prompt tokens, {cached} where they came from cache, and "
        f"{output} per million output tokens; the programme pays the rest of the cost.",
        f"Le bénéficiaire paie au plus {prompt} par million de jetons d’entrée, {cached} s’ils viennent du cache, et "
        f"{output} par million de jetons de sortie, le programme le reste du coût.",
    )


def _credits(agreement: Agreement, terms: Credits, currency: str, words: Words) -> str:
    if terms.quantity is not None:
        granted = f"{plain(terms.quantity, words.language, 0)}{NBSP}{words(terms.unit)}"
    else:
        granted = money(plain(agreement.cap or Fraction(0), words.language), currency, words.language)
    return words.pick(
        f"The programme pays everything until {granted} are used up.",
        f"Le programme paie tout jusqu’à épuisement de {granted}.",
    )
