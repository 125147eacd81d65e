"""A child process that cannot outlive its parent, whatever ends the parent."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_M_ARENA_MAX = -8  # <malloc.h>

# Loaded before any fork: nothing may be imported or allocated much between fork and exec.
_libc = ctypes.CDLL(None, use_errno=True)


def dies_with_parent() -> Callable[[], None]:
    """A `preexec_fn`: the kernel kills the child when the thread that started it ends, also by kill -9.

    Start children from the main thread only. The child gets a process group of its own from `start_new_session=True`,
    so that Ctrl-C in a terminal reaches the parent alone, which ends its children in order.
    """
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the request took effect
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def share_memory_arenas() -> None:
    """Let the threads of this process allocate from two arenas instead of one each.

    Batches are made in one thread and freed in another, and what an arena has freed is of no use to the others: a
    worker with eight arenas holds a quarter more memory for the same work. Where the C library has no such call
    nothing changes.
    """
    with contextlib.suppress(AttributeError):
        _libc.mallopt(_M_ARENA_MAX, 2)
