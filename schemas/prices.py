"""Which price holds for a product on a day.

Prices name products by shell-style patterns, so several may match. The most specific one holds: the pattern that fixes
more characters, among equals the lower id. Two prices of one cluster and one pattern must not hold on the same day.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import combinations

from schemas.config import Price

_PIECE = re.compile(r"\[!?\]?[^]]*\]|.", re.DOTALL)


def specificity(pattern: str) -> int:
    """Number of characters that a pattern fixes: ``NVIDIA H100*`` 11, ``*`` 0. A ``[...]`` fixes one."""
    return sum(piece not in "*?" for piece in _PIECE.findall(pattern))


def by_precedence(prices: Iterable[Price]) -> list[Price]:
    """Prices in the order in which they are asked: the first one that matches and holds is the price."""
    return sorted(prices, key=lambda price: (-specificity(price.gpu_model), price.id))


def effective_end(price: Price, prices: Iterable[Price]) -> date | None:
    """First day on which a price no longer holds; None = open.

    A price without an end of its own holds until the next one of the same cluster and pattern takes effect.
    """
    if price.effective_to is not None:
        return price.effective_to
    return min(
        (
            other.effective_from
            for other in prices
            if (other.cluster, other.gpu_model) == (price.cluster, price.gpu_model)
            and other.effective_from > price.effective_from
        ),
        default=None,
    )


def conflicts(prices: Sequence[Price]) -> Iterable[tuple[Price, Price, date]]:
    """Pairs of prices of one cluster and pattern that overlap, with the first day on which both would hold."""
    for one, other in combinations(prices, 2):
        if (one.cluster, one.gpu_model) != (other.cluster, other.gpu_model):
            continue
        day = max(one.effective_from, other.effective_from)
        ends = (effective_end(one, prices), effective_end(other, prices))
        if all(end is None or end > day for end in ends):
            yield one, other, day
