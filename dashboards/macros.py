"""The SQL macros of Grafana's ClickHouse plugin, in Python, and Grafana's substitution of variables.

:func:`expand` restates what the plugin's backend does (grafana-clickhouse-datasource 4.20, `pkg/macros`), so that the
SQL of a panel can be run, and tested, without Grafana. :func:`substitute` restates what Grafana's frontend does before,
with one difference: values are quoted so that ClickHouse reads them back unchanged. Grafana's own `singlequote`
escapes the quote and leaves backslashes, so ``\\' OR 1=1 --`` closes the literal; nothing here depends on it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal


class MacroError(ValueError):
    """A macro with the wrong arguments, or one that is not supported. The text names it."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time range of a dashboard, inclusive at both ends, and the width of one point. Milliseconds since 1970."""

    from_ms: int
    to_ms: int
    interval_ms: int = 60_000

    @property
    def from_s(self) -> int:
        return self.from_ms // 1000

    @property
    def to_s(self) -> int:
        return self.to_ms // 1000

    @property
    def interval_s(self) -> int:
        """At least one second, as the plugin has it."""
        return max(1, self.interval_ms // 1000)


def _date(seconds: int) -> str:
    return f"toDate('{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}')"


def _date_filter(w: Window, column: str) -> str:
    return f"{column} >= {_date(w.from_s)} AND {column} <= {_date(w.to_s)}"


def _time_filter(w: Window, column: str) -> str:
    return f"{column} >= toDateTime({w.from_s}) AND {column} <= toDateTime({w.to_s})"


def _date_time_filter(w: Window, day: str, time: str) -> str:
    return f"({_date_filter(w, day)}) AND ({_time_filter(w, time)})"


def _milli(ms: int) -> str:
    return f"fromUnixTimestamp64Milli({ms})"


def _time_group(_: Window, column: str, period: str) -> str:
    return f"toStartOfInterval(toDateTime({column}), INTERVAL {go_duration_s(period)} second)"


_GO_UNITS = {"ns": "1e-9", "us": "1e-6", "µs": "1e-6", "ms": "1e-3", "s": "1", "m": "60", "h": "3600"}
_GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def go_duration_s(text: str) -> int:
    """A Go duration such as 1h30m as whole seconds, the rest cut off. Raises MacroError."""
    text = text.strip().strip("'\"")
    parts = _GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise MacroError(f"{text!r} is not a duration; write for example 30s, 5m or 1h30m")
    return int(sum(Decimal(number) * Decimal(_GO_UNITS[unit]) for number, unit in parts))


_MACROS: dict[str, tuple[int, Callable[..., str]]] = {
    "timeFilter": (1, _time_filter),
    "timeFilter_ms": (1, lambda w, c: f"{c} >= {_milli(w.from_ms)} AND {c} <= {_milli(w.to_ms)}"),
    "dateFilter": (1, _date_filter),
    "dateTimeFilter": (2, _date_time_filter),
    "dt": (2, _date_time_filter),
    "timeFrom": (1, lambda w, c: f"{c} >= toDateTime({w.from_s})"),
    "timeTo": (1, lambda w, c: f"{c} <= toDateTime({w.to_s})"),
    "fromTime": (0, lambda w: f"toDateTime({w.from_s})"),
    "toTime": (0, lambda w: f"toDateTime({w.to_s})"),
    "fromTime_ms": (0, lambda w: _milli(w.from_ms)),
    "toTime_ms": (0, lambda w: _milli(w.to_ms)),
    "timeInterval": (1, lambda w, c: f"toStartOfInterval(toDateTime({c}), INTERVAL {w.interval_s} second)"),
    "timeInterval_ms": (
        1,
        lambda w, c: f"toStartOfInterval(toDateTime64({c}, 3), INTERVAL {max(1, w.interval_ms)} millisecond)",
    ),
    "timeGroup": (2, _time_group),
    "interval_s": (0, lambda w: str(w.interval_s)),
}
# Known to the plugin and not restated here: they rewrite the whole statement, or depend on the query editor.
_UNSUPPORTED = frozenset(
    {
        "interval",
        "interval_ms",
        "table",
        "column",
        "columns",
        "rateColumns",
        "perSecondColumns",
        "increaseColumns",
        "lttb",
        "adHocFilters",
    }
)

# Text in which nothing is replaced: quoted strings and identifiers, and comments.
_OPAQUE = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|--[^\n]*|/\*.*?\*/""",
    re.DOTALL,
)
_NAME = re.compile(r"\$__([A-Za-z][A-Za-z0-9_]*)")


def _pieces(sql: str) -> Iterator[tuple[bool, str]]:
    """The statement as (is code, text) runs."""
    end = 0
    for match in _OPAQUE.finditer(sql):
        if match.start() > end:
            yield True, sql[end : match.start()]
        yield False, match.group()
        end = match.end()
    if end < len(sql):
        yield True, sql[end:]


def _mask(sql: str) -> str:
    """The statement with every opaque character blanked, so that positions stay and only code can match."""
    return "".join(text if is_code else " " * len(text) for is_code, text in _pieces(sql))


def _arguments(sql: str, masked: str, start: int, name: str) -> tuple[list[str], int]:
    """The arguments that begin at the bracket at `start`, split at top-level commas, and the end behind the bracket."""
    arguments: list[str] = []
    depth, begin = 0, start + 1
    for index in range(start, len(masked)):
        char = masked[index]
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                last = sql[begin:index].strip()
                return ([*arguments, last] if arguments or last else []), index + 1
        elif char == "," and depth == 1:
            arguments.append(sql[begin:index].strip())
            begin = index + 1
    raise MacroError(f"$__{name}: the bracket is not closed")


def _replace(sql: str, handle: Callable[[str, list[str]], str | None]) -> str:
    """Every macro call in code replaced by what `handle` makes of (name, arguments); None leaves it as it is."""
    masked, result, end = _mask(sql), [], 0
    for match in _NAME.finditer(masked):
        if match.start() < end:
            raise MacroError(f"$__{match[1]} stands inside the arguments of another macro")
        arguments: list[str] = []
        after = match.end()
        if masked[after : after + 1] == "(":
            arguments, after = _arguments(sql, masked, after, match[1])
        text = handle(match[1], arguments)
        if text is not None:
            result += [sql[end : match.start()], text]
            end = after
    return "".join([*result, sql[end:]])


def expand(sql: str, window: Window) -> str:
    """The statement with the plugin's backend macros expanded; unknown macros stay as they are. Raises MacroError."""

    def one(name: str, arguments: list[str]) -> str | None:
        if name in _UNSUPPORTED:
            raise MacroError(f"$__{name} is not supported in panel definitions")
        if name not in _MACROS:
            return None
        count, function = _MACROS[name]
        if len(arguments) != count or not all(arguments):
            raise MacroError(f"$__{name} takes {count} argument(s), not {len(arguments)}")
        return function(window, *arguments)

    return _replace(sql, one)


def quote(text: str) -> str:
    """A ClickHouse string literal that reads back as exactly this text."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(?!__)([A-Za-z]\w*)")


def substitute(sql: str, values: Mapping[str, Sequence[str]]) -> str:
    """Grafana's frontend part: `$__conditionalAll(condition, $var)` and `${var:singlequote}`.

    `values` maps each variable to the chosen values; an empty sequence means All. Only `singlequote` is offered, so a
    value can never become anything but string literals. Raises MacroError for other forms and unknown variables.
    """

    def condition(name: str, arguments: list[str]) -> str | None:
        if name != "conditionalAll":
            return None
        match = _VARIABLE.fullmatch(arguments[-1]) if len(arguments) == 2 else None
        if match is None or not match[3]:
            raise MacroError("$__conditionalAll takes a condition and a plain $variable")
        return arguments[0] if chosen(match[3]) else "1=1"

    def chosen(name: str) -> Sequence[str]:
        if name not in values:
            raise MacroError(f"unknown variable ${name}; known: {', '.join(sorted(values)) or 'none'}")
        return values[name]

    def literals(match: re.Match[str]) -> str:
        if match[2] != "singlequote":
            raise MacroError(f"{match[0]}: write ${{{match[1] or match[3]}:singlequote}}, nothing else is safe")
        return ",".join(quote(value) for value in chosen(match[1])) or "''"

    masked = _replace(sql, condition)
    return "".join(_VARIABLE.sub(literals, text) if is_code else text for is_code, text in _pieces(masked))


def variables_in(sql: str) -> set[str]:
    """Names of the variables that a statement refers to."""
    return {match[1] or match[3] for match in _VARIABLE.finditer(_mask(sql))}
