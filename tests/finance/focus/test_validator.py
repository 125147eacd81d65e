"""The FOCUS foundation's validator finds nothing in our files but what is wrong in the validator."""

from pathlib import Path

import pytest

from compose.finance.focus.export import export
from tests.conftest import ClickHouse
from tests.finance.focus import month, validator


@pytest.mark.timeout(600)
def test_the_validator_fails_nothing_but_its_own_wrong_rules(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """A rule that fails beyond those is a fault of ours; one of those that passes has been put right: take it out.

    A wrong service category shows that the validator does look.
    """
    month.insert(clickhouse.client, month.entries())
    path = export(clickhouse.client, month.booked(), "csv", tmp_path)[0].path
    failed, printed = validator.validate(path)
    assert set(failed) == set(validator.WRONG_RULES), printed
    path.write_text(path.read_text().replace('"AI and Machine Learning"', '"Magic"'))
    failed, printed = validator.validate(path)
    assert set(failed) - set(validator.WRONG_RULES) == {"ServiceCategory_Enum"}, printed
