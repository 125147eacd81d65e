"""`python -m tests.faults.older …`: the command as an earlier version that reads Arrow alone, no JSON."""

import sys
from typing import Any
from unittest.mock import patch

from compose.cli import main
from schemas import arrow


def refuse(_value: bytes, _model: Any, _schema: Any) -> Any:
    """As this version says of an encoding that it does not know."""
    raise arrow.Unreadable(f"unknown content-type {arrow.JSON!r}; send {arrow.ARROW}")


if __name__ == "__main__":
    with patch.object(arrow, "_decode_json", refuse):
        sys.exit(main())
