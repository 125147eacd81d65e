"""A correction is shown, checked against the whole book, written once, and never undone by a restart."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from compose.options import Mistake
from compose.reference.apply import differences, overlay, write
from compose.reference.commands import group
from compose.reference.history import changes, config_at, effective, latest_change_at
from compose.reference.tables import store
from schemas.config import Config
from schemas.config_file import ConfigError
from tests.compose.reference.example import config, tables

PRICE = """\
[[price]]
id = "fir-h100"
cluster = "fir"
gpu_model = "NVIDIA H100*"
basis = "owned"
capex = "43000"
lifetime_years = 5
residual_value = "2000"
energy_per_kwh = "0.0776"
pue = 1.1
tariff = [{ id = "night", starts = "22:00", ends = "06:00", energy_per_kwh = "0.041" }]
effective_from = 2026-01-01
"""
CARBON = '[[carbon]]\nregion = "CA-QC"\ng_per_kwh = 1.7\nvintage = "2024"\neffective_from = 2026-01-01\n'


@pytest.fixture
def book(clickhouse: Any) -> Any:
    """A book in which the example is recorded."""
    store(clickhouse.client, config(), source="a.toml")
    return clickhouse


def file(folder: Path, text: str, name: str = "fix.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def run(book: Any, *arguments: object) -> Result:
    result = CliRunner().invoke(group, [str(argument) for argument in (*arguments, "--clickhouse", book.url)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def complaints(book: Any, *files: Path, withdrawn: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as error:
        differences(book.client, files, withdrawn)
    return str(error.value).splitlines()


def test_a_correction_is_shown_before_it_is_written(book: Any, tmp_path: Path) -> None:
    """Each field that differs, old and new; without a terminal and without --yes nothing is written."""
    path = file(tmp_path, PRICE + CARBON)
    before = latest_change_at(book.client)
    for option in ("--dry-run", None):
        result = run(book, "apply", path, *filter(None, [option]))
        lines = [" ".join(line.split()) for line in result.output.splitlines()]
        assert "changed price/fir-h100 capex 42000 43000" in lines
        assert "new carbon/CA-QC@2026-01-01 region CA-QC" in lines
        assert "g_per_kwh 1.7" in lines
        assert result.exit_code == 0
        assert "nothing was written" in result.output
    assert "--yes" in result.output
    assert latest_change_at(book.client) == before


def test_a_correction_is_written_once(book: Any, tmp_path: Path) -> None:
    """All of it under one moment, in the history and in the tables for SQL; the second time there is nothing to do."""
    path = file(tmp_path, PRICE + CARBON)
    before = latest_change_at(book.client)
    assert "rerate" in run(book, "apply", path, "--yes").output
    after = latest_change_at(book.client)
    assert after > before
    written = [entry for entry in changes(book.client) if entry.recorded_at == after]
    assert {(entry.section, entry.origin, entry.source) for entry in written} == {
        ("price", "applied", "fix.toml"),
        ("carbon", "applied", "fix.toml"),
    }
    assert config_at(book.client).price[0].capex == 43_000
    assert config_at(book.client, before).price[0].capex == 42_000
    query = "SELECT capex FROM prices FINAL WHERE id = 'fir-h100'"
    assert book.client.query(query).result_rows[0][0] == 43_000
    assert run(book, "apply", path, "--yes").output.strip() == "nothing to change"
    assert latest_change_at(book.client) == after


def test_a_restart_says_what_of_its_file_does_not_hold(book: Any, tmp_path: Path) -> None:
    """`up` does not undo what was applied, names it, and its workers price by it."""
    run(book, "apply", file(tmp_path, PRICE), "--yes")
    stored = store(book.client, config(), source="a.toml")
    assert (stored.written, stored.corrected) == (0, ["price/fir-h100"])
    assert effective(book.client, config()).price[0].capex == 43_000


def test_a_withdrawal(book: Any, tmp_path: Path) -> None:
    """The entry holds no more, in the book, for workers and for SQL, though the file still has it."""
    result = run(book, "apply", "--withdraw", "carbon/CA-BC@2026-01-01", "--yes")
    assert "withdrawn" in result.output
    assert config_at(book.client).carbon == []
    assert book.client.query("SELECT count() FROM carbon_intensity FINAL").result_rows == [(0,)]
    assert store(book.client, config()).corrected == ["carbon/CA-BC@2026-01-01"]
    assert effective(book.client, config()).carbon == []
    assert config_at(book.client).carbon == []
    with pytest.raises(Mistake, match=r"not in the book: did you mean price/fir-h100\?"):
        differences(book.client, [], ["price/fir-h10"])
    with pytest.raises(Mistake, match="stands in a file"):
        differences(book.client, [file(tmp_path, PRICE)], ["price/fir-h100"])


def test_what_is_still_needed_is_not_withdrawn(book: Any) -> None:
    """A programme with agreements, an agreement that another one follows, the rate of a price, the only weights."""
    assert complaints(book, withdrawn=("programme/fund",)) == [
        f'agreement/{name} of the book: no programme has the id "fund"; add a [[programme]]'
        for name in ("acme", "acme-more", "lab")
    ]
    assert complaints(book, withdrawn=("agreement/acme",)) == [
        'deployment/chat of the book: no agreement has the id "acme"; did you mean "acme-more"?',
        'agreement/acme-more of the book: no agreement has the id "acme"; did you mean "acme-more"?',
    ]
    (rate, pool) = complaints(book, withdrawn=("fx_rate/GBP/CAD@2026-01-01",))
    assert rate.startswith('price/oak-any of the book: price "oak-any" is in GBP')
    assert pool.startswith('pool/ca-gb of the book: pool "ca-gb" counts in GBP and programme "fund" in CAD')
    weights = [f"rgu/NVIDIA H100*{slice_}@2026-04-01" for slice_ in ("", "/3g.40gb")]
    (credits_,) = complaints(book, withdrawn=tuple(weights))
    assert credits_.startswith('agreement/lab of the book: agreement "lab" counts RGU-hours')


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            PRICE.replace('"fir-h100"', '"other"'),
            [
                'F:12: price "other" and price "fir-h100" both hold for "NVIDIA H100*" on cluster "fir" on 2026-01-01; '
                "end one before the other begins (effective_to), or take one out"
            ],
        ),
        (PRICE.replace('"fir"', '"fur"'), ['F:3: no cluster has the id "fur"; did you mean "fir"?']),
        (
            PRICE.replace('capex = "43000"', "capex = 43.5"),
            ['F:6: capex: amounts are strings; write "43.5" in quotes'],
        ),
        (
            '[alerts]\nidle_for = "60s"\n',
            ["F:1: [alerts] is no reference data; it belongs into the file of `commonwatt up`, take it out here"],
        ),
        ('[[prices]]\nid = "x"\n', ['F:1: unknown key "prices" at the top of the file; did you mean price?']),
        (
            '[[cluster]]\nid = "fir"\ncountry = "CA"\nmax_gap = "2m"\n',
            [
                "F:4: max_gap says how the cluster is measured and belongs into the file of `commonwatt up`; "
                "take it out here"
            ],
        ),
        ('[[cluster]]\nid = "fir"\n', ['F:1: [[cluster]] has no country; add country = "CA"']),
        (
            '[[fx_rate]]\nbase = "CAD"\nquote = "GBP"\nrate = "0.6"\neffective_from = 2026-01-01\n',
            ["F:2: GBP to CAD is given above and serves both ways; write all of them as one pair"],
        ),
        (
            '[[programme]]\nid = "fund"\nbudget = "1"\nstarts = 2025-08-01\nends = 2027-12-31\n',
            [
                'agreement/acme of the book: the agreement ends 2028-03-31, after programme "fund" does; '
                "write 2027-12-31 or earlier"
            ],
        ),
    ],
)
def test_what_does_not_hold_together_is_refused(book: Any, tmp_path: Path, text: str, lines: list[str]) -> None:
    """Every mistake has its place and what to write instead; nothing is written."""
    path = file(tmp_path, text)
    before = latest_change_at(book.client)
    assert complaints(book, path) == [line.replace("F:", f"{path}:") for line in lines]
    assert latest_change_at(book.client) == before


def test_several_files_are_one_correction(book: Any, tmp_path: Path) -> None:
    """They may name each other's entries, and what is given twice is refused where it stands the second time."""
    agreement = (
        '[[agreement]]\nid = "new"\nprogramme = "second"\nrecipient = "N"\n'
        'rule = { kind = "cost_share", share = "2/3" }\n'
        "starts = 2026-05-01\nends = 2026-12-31\n"
    )
    programme = '[[programme]]\nid = "second"\nbudget = "5"\nstarts = 2026-01-01\nends = 2027-12-31\n'
    first, second = file(tmp_path, agreement, "a.toml"), file(tmp_path, programme, "b.toml")
    assert [difference.key for difference in differences(book.client, [first, second])] == [
        ("programme", "second"),
        ("agreement", "new"),
    ]
    (line,) = complaints(book, first)
    assert line == f'{first}:3: no programme has the id "second"; write one of "fund"'
    again = file(tmp_path, "\n" + programme, "c.toml")
    (line,) = complaints(book, first, second, again)
    assert line.startswith(f'{again}:3: a programme with id "second" is already described')
    write(book.client, differences(book.client, [first, second]), [first, second])
    assert [entry.id for entry in config_at(book.client).agreement] == ["acme", "acme-more", "lab", "new"]
    assert changes(book.client, "agreement", "new")[0].source == "a.toml, b.toml"


def test_a_cluster_keeps_how_it_is_measured(book: Any, tmp_path: Path) -> None:
    """A correction of its PUE leaves its targets and the silence that follows from them."""
    text = '[[cluster]]\nid = "fir"\nname = "Fir"\ncountry = "CA"\nregion = "CA-BC"\npue = 1.2\n'
    run(book, "apply", file(tmp_path, text + 'timezone = "America/Vancouver"\n'), "--yes")
    assert config_at(book.client).cluster[0].max_gap_s == 180
    data = tables()
    data["cluster"][0]["target"][0]["interval"] = "2m"
    slower = Config.model_validate(data)
    stored = store(book.client, slower)
    assert stored.corrected == ["cluster/fir"]
    assert config_at(book.client).cluster[0].max_gap_s == effective(book.client, slower).cluster[0].max_gap_s == 360
    assert (
        config_at(book.client).cluster[0].pue == effective(book.client, slower).cluster[0].pue != slower.cluster[0].pue
    )


def test_an_overlay_changes_nothing_that_is_recorded(book: Any, tmp_path: Path) -> None:
    """What if: the same reference data with what a file says instead, checked as a correction is."""
    known, before = config_at(book.client), latest_change_at(book.client)
    other = overlay(known, [file(tmp_path, PRICE + CARBON)])
    assert other.price[0].capex == 43_000
    assert [carbon.region for carbon in other.carbon] == ["CA-BC", "CA-QC"]
    assert other.model_copy(update={"price": known.price, "carbon": known.carbon}) == known
    assert (config_at(book.client), latest_change_at(book.client)) == (known, before)
    with pytest.raises(ConfigError, match="no cluster has the id"):
        overlay(known, [file(tmp_path, PRICE.replace('"fir"', '"fur"'))])


def test_what_is_shown(book: Any, tmp_path: Path) -> None:
    """`show` lists what holds, `history` each change with its fields; patterns are not taken for markup."""
    path = file(tmp_path, PRICE.replace("NVIDIA H100*", "NVIDIA [hH]100*"))
    run(book, "apply", path, "--yes")
    shown = run(book, "show", "price").output
    assert "gpu_model=NVIDIA [hH]100*" in shown
    assert "applied: fix.toml" in shown
    assert "agreement/acme" not in shown
    told = [" ".join(line.split()) for line in run(book, "history", "price/fir-h100").output.splitlines()]
    assert "new price/fir-h100 id fir-h100" in told
    assert "changed price/fir-h100 gpu_model NVIDIA H100* NVIDIA [hH]100*" in told
    assert "capex 42000 43000" in told
    with pytest.raises(Mistake, match='"prices" is no section: use cluster'):
        run(book, "show", "prices")
    with pytest.raises(Mistake, match="reference show"):
        run(book, "history", "price/none")
