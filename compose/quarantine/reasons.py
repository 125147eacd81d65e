"""What the reasons mean for which messages are put aside, and what to do about each."""

import re
from typing import NamedTuple


class Kind(NamedTuple):
    """Reasons of one kind."""

    name: str
    pattern: str
    """Of the reason's text, from its beginning."""
    meaning: str
    remedy: str


_KINDS = (
    Kind(
        "unknown schema",
        r"unknown schema ",
        "The message is of a kind that the worker did not know: its collector is newer than the worker, or it is not a "
        "collector of Commonwatt.",
        "Bring the workers to the version of the collector, then replay.",
    ),
    Kind(
        "wrong topic",
        r"schema .* on a topic of ",
        "The message is of a known kind, but on the topic of another one.",
        "Correct the producer. Here the message stays what it is: a replay does not help.",
    ),
    Kind(
        "header missing",
        r"header '.*' is missing",
        "Its headers do not say what it is and who sent it: it is from no collector of Commonwatt, or something on the "
        "way drops headers.",
        "Correct the producer. Nobody can tell whose samples these are: a replay does not help.",
    ),
    Kind(
        "malformed header",
        r"malformed header|a header is not UTF-8",
        "A header does not hold what it must: a number, a list of defects, or text at all.",
        "Correct the producer. Replay after an upgrade that accepts such a header.",
    ),
    Kind(
        "foreign key",
        r"key .* is not a shard of cluster|the key is not UTF-8",
        "The key names the shard, cluster/collector/n. It does not fit the cluster in the headers: the ledger cannot "
        "tell where the samples belong.",
        "Correct the producer: a replay does not help.",
    ),
    Kind(
        "unknown encoding",
        r"unknown content-type",
        "The header content-type names an encoding that the worker did not know.",
        "Bring the workers to the version of the producer, or let it send Arrow or JSON, then replay.",
    ),
    Kind(
        "damaged",
        r"not an Arrow IPC stream|empty message",
        "The content is damaged, cut off or something else altogether: its length or its inner references do not fit.",
        "Look at it (--save FILE) and search for what damages messages on the way: a replay does not help.",
    ),
    Kind(
        "row count",
        r"header says \d+ rows|a message holds one record batch",
        "The content can be read, but it is not as many rows as its header says: something is missing or too much.",
        "Correct the producer. Nobody knows what is missing: a replay does not help.",
    ),
    Kind(
        "other columns",
        r"columns differ from the schema",
        "The content can be read, but its columns are not those of the schema that its header names.",
        "A change of columns needs a new schema id: correct the producer. Replay after an upgrade that accepts these.",
    ),
    Kind(
        "samples from the future",
        r".*\b(ahead|in the future|from the future)\b",
        "Samples were later than the worker's clock allowed: the collector's clock was ahead, or the worker's behind.",
        "Set the clock. If the worker's was behind, replay. If the collector's was ahead, its samples bear wrong "
        "times: replay, once these have come, only what shall be counted at them.",
    ),
    Kind(
        "refused value",
        r"column |a slice is more than its device|the slice name |\d+\.|\d+: |message: ",
        "A row breaks the contract: a value outside of its limits, a missing one, or an unknown field. A message is "
        "taken as a whole or not at all.",
        "Correct the producer. Replay after an upgrade that accepts such a value.",
    ),
    Kind(
        "between workers",
        r"\d+ validation errors? for ",
        "It was sent by a worker to a worker: they are of different versions.",
        "Bring all workers to one version, then replay: the message says how things stood, and newer ones replace it.",
    ),
)
OTHER = Kind(
    "other",
    "",
    "This version knows no such reason: the message was put aside by another one.",
    "Try a replay with --dry-run: it says whether this version can read the message.",
)


def kind_of(reason: str) -> Kind:
    """The kind of a reason."""
    return next((kind for kind in _KINDS if re.match(kind.pattern, reason)), OTHER)
