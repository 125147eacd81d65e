"""Numbers print as the exporters' languages print them, or collectors would be tested on what never occurs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from collectors.simulator.formats import go_float, label_set, old_python_float, python_float, sorted_label_set


@given(st.floats(min_value=0, max_value=1e15, allow_nan=False))
def test_python_numbers_are_those_of_prometheus_client(value: float) -> None:
    """The page of a Python server is compared by text with what the library itself prints."""
    registry = CollectorRegistry()
    Gauge("some", "text", registry=registry).set(value)
    assert generate_latest(registry).decode().splitlines()[-1] == f"some {python_float(value)}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1, "1"),
        (100, "100"),
        (183265, "183265"),
        (999999, "999999"),
        (1e6, "1e+06"),
        (2776148269, "2.776148269e+09"),
        (7.252770066434e12, "7.252770066434e+12"),
        (1.4e17, "1.4e+17"),
        (0.5, "0.5"),
        (123456.75, "123456.75"),
    ],
)
def test_go_numbers(value: float, shown: str) -> None:
    """strconv's 'g' format changes to an exponent at 1e+06 and drops a zero fraction."""
    assert go_float(value) == shown


@given(st.floats(min_value=1e-4, max_value=1e22, allow_nan=False))
def test_go_numbers_keep_their_value(value: float) -> None:
    """Shortest form means no digit that matters is lost."""
    assert float(go_float(value)) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (34748194816, "3.4748194816e+010"),
        (3301916672, "3.301916672e+09"),
        (71994, "71994.0"),
        (134217728000, "1.34217728e+011"),
    ],
)
def test_old_python_numbers_are_those_of_the_capture(value: float, shown: str) -> None:
    """slurm-job-exporter's page was captured with the old exponent."""
    assert old_python_float(value) == shown


def test_labels() -> None:
    """dcgm-exporter prints in its own order, the client libraries alphabetically."""
    assert label_set({"gpu": 0, "UUID": "x"}) == '{gpu="0",UUID="x"}'
    assert sorted_label_set({"gpu": 0, "UUID": "x"}) == '{UUID="x",gpu="0"}'
    assert label_set({}) == ""
