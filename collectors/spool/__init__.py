"""The spool: every message lies on the disk before it counts as taken, and until Kafka has acknowledged it.

Messages wait in segments, first in, first out within each shard (a shard is a message key). A `kill -9` loses nothing:
what was written is in the system's page cache, which outlives the process. There is no fsync for each message; against
a loss of power the segments are forced to the disk (fdatasync) about once a second for as long as something has waited
for more than a second, so that it can cost the last two seconds or so before it. While Kafka takes everything at once
nothing is forced, because nothing is missing. What Kafka has acknowledged is marked in its segment, so that after a
crash little is sent twice, and that does no harm: the meters drop it by its time.

Memory does not grow with what waits, except for sixteen bytes a message: its place, size and time. The disk is bounded
by a limit. Seven eighths of it are for whoever comes first; the last eighth is shared equally among the shards, so that
a shard whose partition takes nothing cannot crowd out the others. What finds no room is refused: the oldest are kept.
A segment goes when nothing in it waits. When most of the disk space is held by segments in which little waits, that
little is written anew at the end; its number gives the order after a restart.

A disk that cannot be written is no end: messages then wait in a small memory, which is bounded in the same way, and
move to the disk, in order, as soon as that is possible again. These alone would be lost by a kill.
"""

from collectors.spool.folder import SpoolError
from collectors.spool.queues import LIMIT_BYTES, Note, Spool, SpoolFull, opened
from collectors.spool.record import Message
from collectors.spool.segment import sync

__all__ = ["LIMIT_BYTES", "Message", "Note", "Spool", "SpoolError", "SpoolFull", "opened", "sync"]
