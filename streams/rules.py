"""What an agreement says for one place and one day, and what its programme pays by that. Pure, exact, before any cap.

Not here, because it depends on what was paid before: the cap, the grant of credits, and the limit on what several
programmes may pay together (see streams.reference).
"""

from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from schemas.config import Agreement, CostShare, Credits, TokenPrice
from schemas.money import NANO, round_half_even

_MTOK = 1_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What an agreement says for the country of a cluster and a UTC day."""

    label: str
    """In words, such as "cost_share 2/3", "token_price", "credits gpu_hours", "not in force"."""
    share: Fraction
    """Part that the programme pays; 1 for credits."""
    of_remainder: bool
    """Whether that is a part of what earlier agreements left, instead of the whole cost."""
    prices: tuple[Fraction, Fraction, Fraction] | None
    """Where tokens are charged: what the recipient pays at most per 1M of prompt that was not cached, of prompt from
    cache, and of output. The programme pays the rest."""

    def subsidy(self, cost_nano: int, left_nano: int, prompt: int, cached: int, generation: int) -> int:
        """Nano-units that the programme pays, at most `left_nano`; rounded once, half-even.

        left_nano: what the recipient still has to pay of the cost before this agreement. prompt: tokens, cached ones
        included; should more be counted as cached than as prompt, all of the prompt was cached.
        """
        if self.prices is not None:
            uncached_price, cached_price, output_price = self.prices
            cached = min(cached, prompt)
            price = (prompt - cached) * uncached_price + cached * cached_price + generation * output_price
            return left_nano - min(left_nano, round_half_even(price * NANO / _MTOK))
        return min(left_nano, round_half_even((left_nano if self.of_remainder else cost_nano) * self.share))


NOT_IN_FORCE = Terms("not in force", Fraction(0), of_remainder=False, prices=None)
"""Before the first day of an agreement, after its last, and of one that is not described: pays nothing."""


def terms_of(agreement: Agreement, country: str, day: date) -> Terms:
    """What an agreement says for a country (ISO 3166, of the cluster that did the work) and a UTC day."""
    if not agreement.starts <= day <= agreement.ends:
        return NOT_IN_FORCE
    match agreement.rule:
        case CostShare() as rule:
            share = rule.share
            if country != agreement.country:
                paid = rule.elsewhere_until is None or day <= rule.elsewhere_until
                share = rule.elsewhere if paid else Fraction(0)
            return Terms(f"cost_share {share}", share, of_remainder=rule.of == "remainder", prices=None)
        case TokenPrice() as rule:
            return Terms("token_price", Fraction(0), of_remainder=False, prices=rule.prices)
        case Credits() as rule:
            return Terms(f"credits {rule.unit}", Fraction(1), of_remainder=True, prices=None)
