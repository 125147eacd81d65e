"""`python -m tests.faults.broken worker …` is `commonwatt worker …`, but taking in the thirtieth message raises."""

import itertools
import sys
from typing import Any
from unittest import mock

from compose.cli import main
from streams.intake import Intake

SOUND = 29

_offer, _number = Intake.offer, itertools.count(1)


async def _take_in(intake: Intake[Any], event: Any) -> None:
    if next(_number) > SOUND:
        raise LookupError("the thirtieth message")
    await _offer(intake, event)


if __name__ == "__main__":
    with mock.patch.object(Intake, "offer", _take_in):
        sys.exit(main())
