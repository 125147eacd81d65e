"""The brokers of a soak: one embedded, or Apache Kafka with one or three nodes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.kafka.cluster import Cluster
from tests.roles import running
from tests.soak.plan import EMBEDDED


@contextlib.contextmanager
def brokers(kind: str, folder: Path) -> Iterator[tuple[str, Cluster | None]]:
    """Brokers for a block: their URL, and the nodes unless they are embedded.

    The embedded broker forgets everything when it ends: nothing is done to it.
    """
    if kind == EMBEDDED:
        with running("compose.broker", "--port", "0", log=folder / "broker.log") as broker:
            yield broker.url, None
        return
    with Cluster(folder / "kafka", int(kind)) as cluster:
        yield cluster.url, cluster
