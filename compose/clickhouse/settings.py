"""How the embedded engine is set up: limits, background work, durability, and who may do what.

The engine reads two XML files when it starts. They are written anew at each start, so a change here reaches an
existing data folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from compose.readers.relations import grants, sql

MIB = 1 << 20
GIB = 1 << 30

ADMIN = "admin"
ANALYST = "analyst"
FINANCE = "finance"
OPERATIONS = "operations"
READERS = (ANALYST, FINANCE, OPERATIONS)
"""Users who read, each under the role of the same name. What they may read is in `compose.readers.relations`."""

DENIED_FUNCTIONS = frozenset({"file"})
"""Functions that the engine lets every role call although they reach outside the database: embedded, it takes itself
for a command line tool of whoever runs it, so `file('/etc/passwd')` asks for no grant."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server may use."""

    memory_bytes: int = 4 * GIB
    """All of the engine together."""
    request_bytes: int = 256 * MIB
    """Body of one request, as sent and again as unpacked."""
    result_bytes: int = GIB
    """Result that a format forces to be built whole before it is sent (Arrow file, JSON, Parquet, Pretty)."""
    reserve_bytes: int = 256 * MIB
    """Free on the disk. With less no rows are taken, so that merges and requests under way still find room: each of
    the latter is at most as large as `request_bytes`."""
    concurrent_reads: int = 8
    concurrent_readers: int = 3
    """Of those, read-only users together, one thread each. A machine of two cores keeps half a core for inserts."""
    concurrent_writes: int = 4
    """Writes have threads of their own: slow readers never take them."""


# A query of a reader. Each limit is also the most that a request can ask for.
ANALYST_LIMITS: Mapping[str, int] = {
    "max_execution_time": 60,  # s
    "max_memory_usage": GIB,
    "max_result_bytes": 256 * MIB,
    "max_threads": 1,  # the other core belongs to the inserts
    "max_rows_to_read": 10_000_000_000,
}

# What a reader's request may set beside the limits: the look of the answer, nothing that reaches further.
ANALYST_SETTINGS = frozenset(
    {
        "cancel_http_readonly_queries_on_client_close",
        "date_time_output_format",
        "enable_http_compression",
        "extremes",
        "final",
        "http_headers_progress_interval_ms",
        "join_use_nulls",
        "limit",
        "log_comment",
        "max_block_size",
        "max_result_rows",
        "offset",
        "result_overflow_mode",
        "send_progress_in_http_headers",
        "session_timezone",
    }
)
ANALYST_SETTING_PREFIXES = ("output_format_",)


def write(folder: Path, limits: Limits) -> str:
    """Write the engine's configuration into `folder`; returns the file name to start the engine with."""
    (folder / "users.xml").write_text(_users(limits))
    (folder / "config.xml").write_text(_config(limits))
    return "config.xml"


def _config(limits: Limits) -> str:
    return _xml(
        {
            "clickhouse": {
                "users_config": "users.xml",
                "max_server_memory_usage": limits.memory_bytes,
                "mark_cache_size": 256 * MIB,
                "primary_index_cache_size": 128 * MIB,
                "max_thread_pool_free_size": 32,
                # Merges: two at a time, so that they never hold more threads than a small machine has cores.
                "background_pool_size": 2,
                "background_merges_mutations_concurrency_ratio": 1,
                "background_common_pool_size": 2,
                "background_schedule_pool_size": 4,
                "background_move_pool_size": 1,
                "background_fetches_pool_size": 1,
                "background_buffer_flush_schedule_pool_size": 1,
                "background_distributed_schedule_pool_size": 1,
                "background_message_broker_schedule_pool_size": 1,
                "merge_tree": {
                    # These count free slots of the pool above; the defaults assume 16.
                    "number_of_free_entries_in_pool_to_execute_mutation": 1,
                    "number_of_free_entries_in_pool_to_lower_max_size_of_merge": 1,
                    "number_of_free_entries_in_pool_to_execute_optimize_entire_partition": 1,
                    # An acknowledged insert is on the disk, not in the page cache.
                    "fsync_after_insert": 1,
                    "fsync_part_directory": 1,
                    "min_rows_to_fsync_after_merge": 1,
                    "min_free_disk_bytes_to_perform_insert": limits.reserve_bytes,
                },
            }
        }
    )


def _users(limits: Limits) -> str:
    # The engine knows one user, `default`, who holds all roles and nothing else. A request of a reader puts on the
    # reader's role alone before its statement runs, so grants are checked by the engine itself.
    return _xml(
        {
            "clickhouse": {
                "profiles": {
                    "default": {
                        "max_memory_usage": limits.memory_bytes * 3 // 4,
                        "async_insert": 0,  # an insert is acknowledged when it is stored, and not collected for later
                    }
                },
                "roles": {
                    ADMIN: {"grants": {"query": "GRANT ALL ON *.*"}},
                    ANALYST: {"grants": {"query": "GRANT SELECT, SHOW ON commonwatt.*"}},
                    FINANCE: {"grants": {"query": f"GRANT {sql(grants('finance', bound=False))}"}},
                    OPERATIONS: {"grants": {"query": f"GRANT {sql(grants('operations', bound=False))}"}},
                },
                "users": {
                    "default": {
                        "password": "",
                        "networks": {"ip": "::/0"},
                        "profile": "default",
                        "quota": "default",
                        "grants": {"query": f"GRANT {', '.join((ADMIN, *READERS))}"},
                    }
                },
                "quotas": {"default": {}},
            }
        }
    )


def _xml(tree: Mapping[str, object]) -> str:
    parts = []
    for name, value in tree.items():
        inner = _xml(value) if isinstance(value, Mapping) else escape(str(value))
        parts.append(f"<{name}>{inner}</{name}>")
    return "".join(parts)
