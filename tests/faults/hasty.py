"""`python -m tests.faults.hasty …`: the command with rules that wait a tenth as long, so that tests need not."""

import sys
from dataclasses import replace

from schemas.alert_rules import BY_ID

TENTH = 0.1

# In place, before any other module has taken what it needs.
BY_ID.update(
    {name: replace(rule, for_s=rule.for_s * TENTH, keep_s=rule.keep_s * TENTH) for name, rule in BY_ID.items()}
)

if __name__ == "__main__":
    from compose.cli import main

    sys.exit(main())
