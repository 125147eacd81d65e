"""Numbers, amounts and dates in English and French."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from fractions import Fraction

from compose.finance.statement import terms, words
from compose.finance.statement.typography import apostrophes, cents, day, moment, number, percent, plain
from compose.finance.statement.words import Words
from schemas.config import Agreement, Programme
from tests.finance.statement.book import ACCESS_FUND, ACME
from tests.finance.statement.book import terms as described

NBSP = "\u00a0"


def test_amounts() -> None:
    """A dollar amount stands as each language writes it, with spaces that no line break separates."""
    assert cents(123456, "CAD", "en") == f"CAD{NBSP}1,234.56"
    assert cents(123456, "CAD", "fr") == f"1{NBSP}234,56{NBSP}$"
    assert cents(-5, "USD", "fr") == f"−0,05{NBSP}${NBSP}US"
    assert cents(-123456789, "CAD", "en") == f"CAD{NBSP}−1,234,567.89"
    assert number(1234567, "fr") == f"1{NBSP}234{NBSP}567"
    assert plain(Fraction("0.0776"), "fr") == "0,0776"
    assert plain(Fraction(5), "en") == "5.00"


def test_shares_and_dates() -> None:
    """Percentages and days, also the first of a month; a share of nothing is none."""
    assert percent(2, 3, "en") == "66.7%"
    assert percent(2, 3, "fr") == f"66,7{NBSP}%"
    assert percent(0, 0, "en") == "–"
    assert day(date(2026, 3, 31), "fr") == f"31{NBSP}mars{NBSP}2026"
    assert day(date(2026, 8, 1), "fr") == f"1er{NBSP}août{NBSP}2026"
    assert day(date(2026, 8, 1), "en") == f"1{NBSP}August{NBSP}2026"
    assert moment(datetime(2026, 2, 5, 7, 8, 9, tzinfo=UTC), "en") == f"5{NBSP}February{NBSP}2026, 07:08:09{NBSP}UTC"


def test_apostrophes_of_a_keyboard() -> None:
    """Between letters they become typographic; feet, inches and quotations stay."""
    assert apostrophes("Fonds d'accès à l'IA d'Oka") == "Fonds d’accès à l’IA d’Oka"
    assert apostrophes("'a' 5'2 d’a") == "'a' 5'2 d’a"


def test_every_text_stands_in_both_languages() -> None:
    """No key lacks a language, and French never has a plain space before a colon or after a guillemet."""
    for key, (english, french) in words._TEXTS.items():
        assert english, key
        assert french, key
        assert " :" not in french, key
        assert "« " not in french, key
        assert "'" not in french, key
        assert "'" not in english, key


def _rule(rule: Mapping[str, object], language: str = "en", **more: object) -> str:
    config = described({**ACME, "rule": rule, **more})
    agreement: Agreement = config.agreement[0]
    programme: Programme = config.programme[0]
    return terms.rule(agreement, programme, Words("fr" if language == "fr" else "en")).replace(NBSP, " ")


def test_rules_in_words() -> None:
    """What an agreement says is told in full, in both languages."""
    share = {"kind": "cost_share", "share": "2/3", "elsewhere": "1/2", "elsewhere_until": "2027-03-31"}
    assert _rule(share) == (
        "The programme pays 2/3 of the cost in Canada, 1/2 elsewhere until 31 March 2027 and nothing there afterwards."
    )
    assert _rule(share, "fr") == (
        "Le programme paie 2/3 du coût au Canada, 1/2 ailleurs jusqu’au 31 mars 2027 et rien par la suite."
    )
    assert _rule({"kind": "cost_share", "share": "1"}) == (
        "The programme pays all of the cost in Canada, nothing elsewhere."
    )
    assert _rule({"kind": "token_price", "per_mtok": "0.05"}, "fr") == (
        "Le bénéficiaire paie au plus 0,05 $ par million de jetons, le programme le reste du coût."
    )
    assert _rule(
        {"kind": "token_price", "prompt_per_mtok": "0.5", "cached_per_mtok": "0.125", "output_per_mtok": "2"}
    ) == (
        "The recipient pays at most CAD 0.50 per million prompt tokens, CAD 0.125 where they came from cache, and CAD "
        "2.00 per million output tokens; the programme pays the rest of the cost."
    )
    assert _rule({"kind": "credits", "unit": "gpu_hours", "quantity": "50000"}) == (
        "The programme pays everything until 50,000 GPU-hours are used up."
    )
    assert _rule({"kind": "credits"}, "fr", cap="250000") == (
        "Le programme paie tout jusqu’à épuisement de 250 000,00 $."
    )


def test_a_limit_on_all_programmes_is_told() -> None:
    """Who reads that 2/3 are paid must also read that 3/4 are the most of all programmes together."""
    config = described(ACME, programmes=({**ACCESS_FUND, "stacking_limit": "3/4"},))
    sentence = terms.rule(config.agreement[0], config.programme[0], Words("en"))
    assert sentence.endswith("All programmes together pay at most 3/4 of the cost.")


def test_rules_of_lines() -> None:
    """Labels of the book are told in words; one that is not known is shown as it is."""
    assert terms.line_rule("cost_share 2/3", Words("fr")) == "part 2/3"
    assert terms.line_rule("not in force", Words("en")) == "not in force"
    assert terms.line_rule("something new", Words("fr")) == "something new"
