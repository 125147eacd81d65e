"""`commonwatt notify --undelivered`: what a sink was not told, or not yet, and why."""

from rich.console import Console
from rich.text import Text

from compose.notify import words
from compose.notify.queue import Queue, Undelivered


def show(queue: Queue, console: Console) -> None:
    """Print a line for each change that waits after a failed try, or was set aside; oldest first."""
    found = queue.undelivered()
    for one in found:
        console.print(_line(one), soft_wrap=True)
    waiting = sum(count for count, _ in queue.waiting().values())
    aside = sum(not one.waits for one in found)
    console.print(f"{waiting:,} wait and are tried again, {aside:,} are kept aside: --retry queues these again")


def _line(one: Undelivered) -> Text:
    text = Text(f"{words.moment(one.at_ms)}  {one.sink}  ")
    text.append("waits" if one.waits else "kept aside", style="yellow" if one.waits else "red")
    return text.append(f"  {one.alert.state} {one.alert.rule}: {one.alert.summary}  ({one.reason})")
