"""A configuration that is written as TOML is the same when it is read."""

from pathlib import Path

from collectors.simulator import toml_file
from schemas.config_file import load
from tests.compose.reference import example


def test_every_section_survives(tmp_path: Path) -> None:
    """Tariffs with their times of day, plans, weights, pools, periods: nothing is lost or rounded."""
    path = tmp_path / "c.toml"
    path.write_text(toml_file.dumps(example.config()), encoding="utf-8")
    assert load(path) == example.config()
