"""The page reader that remembers: equal to prometheus-client on any page, however often and in whatever order."""

import contextlib
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from collectors.exposition import MISSING, Family, PageError, PageReader
from tests.collectors.support import capture

GAUGE_NAMES = ("power", "busy:ratio", "_temp")
COUNTER_NAMES = ("energy_total", "tokens_total")
OTHER_NAMES = ("powerful", "energy_total_created", "go_gc")
FAMILIES = {name: Family(name) for name in GAUGE_NAMES} | {name: Family(name, counter=True) for name in COUNTER_NAMES}

Found = tuple[list[tuple[str, frozenset[tuple[str, str]], float]], list[tuple[str, frozenset[tuple[str, str]], int]]]


def _key(column: str, labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def _reader() -> PageReader:
    return PageReader(FAMILIES, _key)


def _ours(reader: PageReader, text: str) -> Found:
    page = reader.read(text.encode())
    gauges = [(s.column, s.key, v) for s, v in zip(page.series.gauges, page.gauges.tolist(), strict=True)]
    counters = [(s.column, s.key, v) for s, v in zip(page.series.counters, page.counters.tolist(), strict=True)]
    return gauges, counters  # type: ignore[return-value]


def _theirs(text: str) -> Found:
    gauges, counters = [], []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = frozenset(sample.labels.items())
            if sample.name in GAUGE_NAMES:
                gauges.append((sample.name, key, float(sample.value)))
            elif sample.name in COUNTER_NAMES:
                counters.append((sample.name, key, _counter(sample.value)))
    return gauges, counters


def _counter(value: float) -> int:
    """What a counter of this value is held as."""
    if value != value or value < 0:
        return MISSING  # not a number, or not a counter
    return min(int(min(value, 2**64)), MISSING - 1)


def _same(ours: Found, theirs: Found) -> None:
    assert [found[:2] for found in ours[0]] == [found[:2] for found in theirs[0]]
    np.testing.assert_array_equal([found[2] for found in ours[0]], [found[2] for found in theirs[0]])
    assert ours[1] == theirs[1]


label_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
labels = st.dictionaries(st.sampled_from(["gpu", "UUID", "le", "pod_name"]), label_values, max_size=3)
plain_numbers = st.one_of(
    st.integers(0, 2**64 + 5).map(str),
    st.integers(0, 2**70).map(lambda n: f"{n}.0"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(0, 1e15).map(lambda x: f"{x:.6f}"),
    st.floats(0, 1e18).map(lambda x: f"{x:e}".replace("e+", "e+0")),
    st.sampled_from(["NaN", "+Inf", "-Inf", "Inf", "-1", "0", "2.776148269e+09", "3.4748194816e+010", "1e-05"]),
)
timestamps = st.one_of(st.just(""), st.just(""), st.integers(0, 2**42).map(lambda ms: f" {ms}"))


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@st.composite
def series(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(GAUGE_NAMES + COUNTER_NAMES + OTHER_NAMES))
    separator = draw(st.sampled_from([",", ", ", " , "]))
    inner = separator.join(f'{key}="{_escape(value)}"' for key, value in draw(labels).items())
    if not inner:
        return f"{name}{draw(st.sampled_from([' ', '{} ', '  ', ' {} ']))}"
    before, after = draw(st.sampled_from([("{", "} "), ("{", ",} "), (" { ", " }  ")]))
    return f"{name}{before}{inner}{after}"


blocks = st.one_of(series(), st.sampled_from(["# HELP power Power, W\n", "# a comment\n", "\n", "# TYPE x gauge\n"]))


@st.composite
def pages(draw: st.DrawFn) -> list[str]:
    """Successive pages of one exporter: new numbers every time, now and then other lines or another order."""
    lines = draw(st.lists(blocks, min_size=1, max_size=12))
    result = []
    for _ in range(draw(st.integers(2, 5))):
        change = draw(st.sampled_from(["none", "none", "order", "add", "drop", "swap"]))
        if change == "order":
            lines = draw(st.permutations(lines))
        elif change == "add":
            lines = [*lines, draw(blocks)]
        elif change == "drop" and len(lines) > 1:
            lines = lines[1:]
        elif change == "swap":
            lines = [draw(blocks), *lines[1:]]
        text = "".join(
            line if line.endswith("\n") else f"{line}{draw(plain_numbers)}{draw(timestamps)}\n" for line in lines
        )
        result.append(text)
    return result


@settings(max_examples=200, deadline=None)
@given(pages())
def test_any_run_of_pages_reads_as_prometheus_client_reads_it(texts: list[str]) -> None:
    """A remembered layout never gives a number to the wrong series, and never loses or invents one."""
    reader = _reader()
    for text in texts:
        if text.isspace():
            with pytest.raises(PageError):
                reader.read(text.encode())
        else:
            _same(_ours(reader, text), _theirs(text))


@settings(max_examples=200, deadline=None)
@given(pages(), st.binary(max_size=40), st.data())
def test_damage_never_gives_a_number_to_the_wrong_series(texts: list[str], noise: bytes, data: st.DataObject) -> None:
    """Bytes thrown into a page cost lines or the page; the next page is read right all the same."""
    reader = _reader()
    page = texts[0].encode()
    at = data.draw(st.integers(0, len(page)))
    for damaged in (page[:at], page[:at] + noise + page[at:], page):
        with contextlib.suppress(PageError):
            reader.read(damaged)
    for text in texts:
        if not text.isspace():
            _same(_ours(reader, text), _theirs(text))


def test_counters_are_exact_up_to_two_to_the_64th() -> None:
    """Energy and tokens must not pass through a double: 2^53 + 1 would come out as 2^53."""
    numbers = [2**53 + 1, 2**63 - 1, 2**63 + 3, 2**64 - 2]
    text = "".join(f'energy_total{{gpu="{i}"}} {number}\n' for i, number in enumerate(numbers))
    assert _reader().read(text.encode()).counters.tolist() == numbers
    assert _reader().read(f"energy_total {2**64 - 1}\n".encode()).counters.tolist() == [2**64 - 2]
    assert _reader().read(b"energy_total 1.8446744073709552e+19\n").counters.tolist() == [2**64 - 2]
    mixed = f'energy_total{{gpu="0"}} {2**53 + 1}\nenergy_total{{gpu="1"}} 2.776148269e+09\n'
    assert _reader().read(mixed.encode()).counters.tolist() == [2**53 + 1, 2776148269]


def test_the_series_stay_the_same_object_while_they_stay_the_same() -> None:
    """Readers keep what they derived from the series for as long as the object is the same, in any order of groups."""
    gpus = "".join(f'power{{gpu="{i}"}} 1\n' for i in range(4))
    switch, cpu = 'nvswitch_x{nvswitch="0"} 5\n', 'cpu_x{cpu="0"} 5\n'
    reader = _reader()
    first = reader.read((gpus + switch + cpu).encode()).series
    for order in (switch + gpus + cpu, cpu + switch + gpus, gpus + switch + cpu, cpu + gpus + switch):
        assert reader.read(order.encode()).series is first
    assert reader.read((gpus + 'power{gpu="4"} 1\n').encode()).series is not first


def test_unescaped_labels_and_failed_conversions_cost_their_line_only() -> None:
    """dcgm-exporter does not escape label values, and prints a sentence where it cannot convert a value."""
    text = (
        'power{gpu="0",pod="a"b"} 100.0\n'
        'power{gpu="1",pod="a\\"} 100.0\n'
        'power{gpu="2",pod="ok"} 200.5\n'
        'power{gpu="3",pod="ok"} ERROR - FAILED TO CONVERT TO STRING\n'
        'powerful{gpu="3",pod="ok"} ERROR - FAILED TO CONVERT TO STRING\n'
    )
    reader = _reader()
    for power in ("200.5", "201.5"):  # learned, then remembered
        page = reader.read(text.replace("200.5", power).encode())
        values = {dict(s.key)["gpu"]: v for s, v in zip(page.series.gauges, page.gauges.tolist(), strict=True)}  # type: ignore[call-overload]
        assert values["2"] == float(power)
        assert np.isnan(values["3"])
        assert set(values) == {"2", "3"}
        assert page.unreadable_count == 4
        assert set(page.unreadable) == {"power", "powerful"}
    mended = reader.read(text.replace("ERROR - FAILED TO CONVERT TO STRING", "7").encode())
    assert mended.gauges.tolist() == [200.5, 7.0]
    assert mended.unreadable_count == 2


def test_names_of_unreadable_lines_hold_no_labels() -> None:
    """Labels of a broken line can name a person; they go nowhere."""
    page = _reader().read(b'power{gpu="0",user="jo"e"} 1\npower{gpu="1"} 1\n')
    assert page.unreadable == ("power",)


def test_a_cut_page_gives_nothing() -> None:
    """12 of 1234 would be a number, and the devices further down would seem gone."""
    reader = _reader()
    reader.read(b'power{gpu="0"} 100\npower{gpu="1"} 1234\n')
    for cut in (b'power{gpu="0"} 100\npower{gpu="1"} 12', b'power{gpu="0"} 100\npower{gp', b"power"):
        with pytest.raises(PageError) as refused:
            reader.read(cut)
        assert refused.value.kind == "truncated_page"


@pytest.mark.parametrize("page", [b"", b"\n", b" \n\n"])
def test_an_empty_page_is_an_error(page: bytes) -> None:
    """dcgm-exporter answers 200 with an empty body during a reload: that is not "no GPUs"."""
    with pytest.raises(PageError) as refused:
        _reader().read(page)
    assert refused.value.kind == "empty_page"


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html>\n<html><body>\n<h1>It works!</h1>\n</body></html>\n",
        b"collecting metrics failed: context deadline exceeded\n",
        bytes(range(256)) + b"\n",
        b'{"error": {"code": 401}}\n',
    ],
)
def test_a_page_of_something_else_is_an_error(page: bytes) -> None:
    """A login page or an error text must mark the target down, not look like an exporter without GPUs."""
    with pytest.raises(PageError) as refused:
        _reader().read(page)
    assert refused.value.kind == "garbage_page"


def test_a_line_that_becomes_wanted_is_seen() -> None:
    """With the same number of lines, a wanted series in the place of another line must not be overlooked."""
    reader = _reader()
    reader.read(b'powerful 1\n\npower{gpu="0"} 1\nword\n')
    for at, line in enumerate([b'power{gpu="1"} 7', b'power{gpu="2"} 8', None, b'power{gpu="3"} 9']):
        lines = [b"powerful 1", b"", b'power{gpu="0"} 1', b"word"]
        if line is not None:
            lines[at] = line
            page = reader.read(b"\n".join(lines) + b"\n")
            assert len(page.gauges) == 2


def test_memory_of_series_long_gone_is_given_up() -> None:
    """Pods come and go for months; what is remembered stays in proportion to the page."""
    reader = _reader()
    for pod in range(2000):
        reader.read(f'power{{gpu="0",pod="pod-{pod}"}} 1\n'.encode())
    assert len(reader._known) < 600
    assert len(reader._layouts) <= 32


@pytest.mark.parametrize(
    "name",
    [
        "dcgm/l40s_k8s_unallocated_upcloud_2026.prom",
        "dcgm/a800x8_mig_2g20gb_excerpt.prom",
        "dcgm/readme_blank_sentinel_old.prom",
        "amd/mi300x_gfx_activity_kaiwo_excerpt.prom",
        "tokens/vllm_v1_kops_2026-03.prom",
        "slurm/slurm_job_exporter_a100_account_readme.prom",
    ],
)
def test_captured_pages_read_as_prometheus_client_reads_them(name: str) -> None:
    """Every series of a real page, all families wanted, on first sight and from memory."""
    text = capture(name).decode()
    # Without TYPE lines, which make prometheus-client rename counters.
    theirs = [
        (sample.name, frozenset(sample.labels.items()), float(sample.value))
        for family in text_string_to_metric_families("".join(f"{x}\n" for x in text.splitlines() if x[:1] != "#"))
        for sample in family.samples
    ]
    reader = PageReader({name: Family(name) for name, _, _ in theirs}, _key)
    for _ in range(2):
        page = reader.read(text.encode())
        assert [(*s, v) for s, v in zip(page.series.gauges, page.gauges.tolist(), strict=True)] == theirs
