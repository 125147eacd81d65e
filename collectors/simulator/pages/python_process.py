"""What every Python server prints before its own families, and how prometheus_client lays out a family."""

from collections.abc import Sequence

from collectors.simulator.formats import python_float

_GENERATIONS: tuple[tuple[str, str, tuple[int, int, int]], ...] = (
    ("python_gc_objects_collected_total", "Objects collected during gc", (14_250, 2120, 303)),
    ("python_gc_objects_uncollectable_total", "Uncollectable objects found during GC", (0, 0, 0)),
    ("python_gc_collections_total", "Number of times this generation was collected", (1301, 118, 9)),
)
_INFO = '{implementation="CPython",major="3",minor="12",patchlevel="13",version="3.12.13"}'


def head(name: str, kind: str, text: str) -> str:
    """The two comment lines of a family."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def block(name: str, kind: str, text: str, labels: Sequence[str], value: str) -> str:
    """A family with the same value, or the same open place, on every line."""
    return head(name, kind, text) + "".join(f"{name}{shown} {value}\n" for shown in labels)


def process_head(began_unix_s: float) -> str:
    """Families of the interpreter and the process, as of its start."""
    out = []
    for name, text, counts in _GENERATIONS:
        lines = [f'{name}{{generation="{number}"}} {python_float(count)}\n' for number, count in enumerate(counts)]
        out.append(head(name, "counter", text) + "".join(lines))
    out.append(block("python_info", "gauge", "Python platform information", [_INFO], "1.0"))
    for name, kind, text, value in (
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", 9_035_190_272.0),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", 1_126_473_728.0),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            began_unix_s,
        ),
        ("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", 16.22),
        ("process_open_fds", "gauge", "Number of open file descriptors.", 48.0),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", 1_048_576.0),
    ):
        out.append(block(name, kind, text, [""], python_float(value)))
    return "".join(out)
