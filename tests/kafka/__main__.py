"""`python -m tests.kafka`: fetch and prepare Apache Kafka for the tests, or say why they go without."""

import sys

from tests.kafka import artifacts
from tests.kafka.cluster import shared_classes


def main() -> int:
    """Print one line. Returns 1 when Kafka is required here and cannot run."""
    reason = artifacts.missing()
    if reason is not None:
        print(f"tests on real Kafka are left out: {reason}")
        return int(artifacts.required())
    shared_classes()
    print(f"tests on real Kafka use release {artifacts.VERSION} from {artifacts.home()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
