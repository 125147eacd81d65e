"""The macros expand exactly as Grafana's ClickHouse plugin does, and no value can leave its literal."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dashboards.macros import MacroError, Window, expand, go_duration_s, quote, substitute, variables_in
from tests.dashboards.servers import ClickHouse

WINDOW = Window(1_760_000_000_123, 1_760_003_600_456, 60_000)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("$__timeFilter(c)", "c >= toDateTime(1760000000) AND c <= toDateTime(1760003600)"),
        (
            "$__timeFilter_ms(c)",
            "c >= fromUnixTimestamp64Milli(1760000000123) AND c <= fromUnixTimestamp64Milli(1760003600456)",
        ),
        ("$__dateFilter(c)", "c >= toDate('2025-10-09') AND c <= toDate('2025-10-09')"),
        (
            "$__dateTimeFilter(d, t)",
            "(d >= toDate('2025-10-09') AND d <= toDate('2025-10-09')) AND "
            "(t >= toDateTime(1760000000) AND t <= toDateTime(1760003600))",
        ),
        (
            "$__dt(d, t)",
            "(d >= toDate('2025-10-09') AND d <= toDate('2025-10-09')) AND "
            "(t >= toDateTime(1760000000) AND t <= toDateTime(1760003600))",
        ),
        ("$__timeFrom(c)", "c >= toDateTime(1760000000)"),
        ("$__timeTo(c)", "c <= toDateTime(1760003600)"),
        ("$__fromTime", "toDateTime(1760000000)"),
        ("$__toTime", "toDateTime(1760003600)"),
        ("$__fromTime_ms", "fromUnixTimestamp64Milli(1760000000123)"),
        ("$__toTime_ms", "fromUnixTimestamp64Milli(1760003600456)"),
        ("$__timeInterval(c)", "toStartOfInterval(toDateTime(c), INTERVAL 60 second)"),
        ("$__timeInterval_ms(c)", "toStartOfInterval(toDateTime64(c, 3), INTERVAL 60000 millisecond)"),
        ("$__timeGroup(c, 5m)", "toStartOfInterval(toDateTime(c), INTERVAL 300 second)"),
        ("$__timeGroup(c, 1h30m)", "toStartOfInterval(toDateTime(c), INTERVAL 5400 second)"),
        ("$__interval_s", "60"),
        (
            "$__timeFilter(least(a, b))",
            "least(a, b) >= toDateTime(1760000000) AND least(a, b) <= toDateTime(1760003600)",
        ),
        ("$__nothingKnown(x)", "$__nothingKnown(x)"),
    ],
)
def test_expansion_is_that_of_the_plugin(sql: str, expected: str) -> None:
    """Table of facts: macro by macro, character by character."""
    assert expand(sql, WINDOW) == expected


def test_an_interval_is_at_least_one_second() -> None:
    assert expand("$__interval_s", Window(0, 1, 20)) == "1"


@pytest.mark.parametrize(
    "sql", ["$__timeFilter()", "$__timeFilter(a, b)", "$__dateTimeFilter(a)", "$__timeFilter", "$__timeGroup(c, soon)"]
)
def test_wrong_arguments_are_refused(sql: str) -> None:
    """A typo in a panel is an error that names the macro, not SQL that means something else."""
    with pytest.raises(MacroError):
        expand(f"SELECT {sql}", WINDOW)


@pytest.mark.parametrize("sql", ["$__timeFilter(a", "$__columns(a, b, c)", "$__timeFilter($__fromTime)"])
def test_what_is_not_restated_is_refused(sql: str) -> None:
    with pytest.raises(MacroError):
        expand(sql, WINDOW)


_TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)


@given(_TEXT.filter(lambda text: "$" not in text))
def test_statements_without_macros_stay_as_they_are(sql: str) -> None:
    assert expand(sql, WINDOW) == sql
    assert substitute(sql, {}) == sql


@given(st.text(alphabet="abc $_(){}'\"`\\-/*\n,", max_size=40))
def test_comments_and_literals_are_left_alone(inner: str) -> None:
    """What looks like a macro inside a literal or a comment is text."""
    literal = quote(f"$__timeFilter(a) {inner}")
    comment = "/* $__toTime " + inner.replace("*/", "") + " */"
    sql = f"SELECT {literal} {comment} -- $__fromTime ${{v}}\n"
    assert expand(sql, WINDOW) == sql
    assert substitute(sql, {}) == sql


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 10**7))
def test_the_range_is_inclusive_and_whole_seconds(start: int, span: int, interval: int) -> None:
    window = Window(start, start + span, interval)
    assert expand("$__timeFilter(c)", window) == (
        f"c >= toDateTime({start // 1000}) AND c <= toDateTime({(start + span) // 1000})"
    )
    assert expand("$__interval_s", window) == str(max(1, interval // 1000))


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300), ("1h", 3600), ("90s", 90), ("1.5h", 5400), ("1500ms", 1), ("2h3m4s", 7384)]
)
def test_go_durations(text: str, seconds: int) -> None:
    assert go_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "1d", "-5m", "5mm"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(MacroError):
        go_duration_s(text)


def test_all_and_chosen_values() -> None:
    sql = "WHERE $__conditionalAll(cluster IN (${cluster:singlequote}), $cluster) AND $__timeFilter(ts)"
    assert substitute(sql, {"cluster": ()}) == "WHERE 1=1 AND $__timeFilter(ts)"
    chosen = substitute(sql, {"cluster": ("fir", "O'Brien")})
    assert chosen == "WHERE cluster IN ('fir','O\\'Brien') AND $__timeFilter(ts)"
    assert variables_in(sql) == {"cluster"}


@pytest.mark.parametrize("sql", ["$v", "${v}", "${v:raw}", "${v:csv}", "${other:singlequote}", "$__conditionalAll(a)"])
def test_only_quoted_values_are_offered(sql: str) -> None:
    """Grafana's raw forms would let a value become SQL; they do not exist here."""
    with pytest.raises(MacroError):
        substitute(sql, {"v": ("x",)})


@given(_TEXT)
@example("\\' OR 1=1 --")
@example("'")
@example("\\")
@example("';\\\"`--/*")
def test_a_literal_ends_where_it_should(text: str) -> None:
    """Backslash and quote are escaped, so the closing quote is the last character and no other."""
    body = quote(text)[1:-1]
    assert body.replace("\\\\", "").replace("\\'", "").count("'") == 0
    assert not (len(body) - len(body.rstrip("\\"))) % 2


def test_values_come_back_from_the_engine_unchanged(seeded: ClickHouse) -> None:
    """The engine reads back exactly what was chosen, whatever it holds."""
    nasty = ["\\' OR 1=1 --", "'", "\\", "\\\\'", "a\nb\tc", "é’“”", "$__timeFilter(a)", "${v}", "/* */ -- ;", "\u202f"]
    sql = substitute("SELECT arrayJoin([${v:singlequote}]) AS v", {"v": nasty})
    assert [row[0] for row in seeded.analyst.query(sql).result_rows] == nasty
