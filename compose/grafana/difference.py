"""Where what is in Grafana differs from what is meant to be there."""

import re
from collections.abc import Iterator
from decimal import Decimal

from compose.grafana.connection import Json

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdwy]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
_UNITS_S = {"ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400", "w": "604800", "y": "31536000"}


def paths(wanted: object, found: object, at: str = "") -> Iterator[str]:
    """Places in `wanted` where `found` says something else, such as `panels[3].title`.

    What Grafana adds of its own (ids, versions, defaults) is no difference, nor is something empty that it leaves out.
    Durations are compared by their length: Grafana writes 2m where 120s was meant.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from paths(value, found.get(key), f"{at}.{key}" if at else key)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from paths(one, other, f"{at}[{index}]")
    elif wanted != found and not (_is_empty(wanted) and _is_empty(found)) and not _same_length(wanted, found):
        yield at


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in ([], {}, "", 0)


def _same_length(wanted: object, found: object) -> bool:
    """Whether both are durations of the same length; nothing is 0 s."""
    first, second = _seconds(wanted), _seconds(found)
    return first is not None and first == second


def _seconds(value: object) -> Decimal | None:
    if _is_empty(value):
        return Decimal(0)
    if not isinstance(value, str) or _DURATION.fullmatch(value) is None:
        return None
    return sum((Decimal(number) * Decimal(_UNITS_S[unit]) for number, unit in _PART.findall(value)), Decimal(0))


def by_uid(rules: list[Json]) -> dict[str, Json]:
    return {str(rule["uid"]): rule for rule in rules}
