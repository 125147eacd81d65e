"""One POST, and what its answer means: taken, not now, or not like this."""

import importlib.metadata
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import aiohttp

TIMEOUT_S = 10.0
LONGEST_WAIT_S = 3600.0
"""However long a receiver asks to be left alone."""
AGENT = f"commonwatt/{importlib.metadata.version('commonwatt')}"
_LATER = frozenset({408, 425, 429})
_TOLD_CHARACTERS = 200


class Later(Exception):
    """It was not taken now. `str()` says why; `after_s` is how long the receiver asks to wait."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Refused(Exception):
    """The receiver does not want it like this. `str()` says why; `final`: nor ever."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def session(authorization: str = "") -> aiohttp.ClientSession:
    """Connections of one sink. Redirects are not followed: what is signed for one receiver is not for another."""
    headers = {"User-Agent": AGENT, **({"Authorization": authorization} if authorization else {})}
    return aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))


async def post(session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Send a JSON body. Raises Later or Refused unless the answer is of the 200s."""
    sent = {"Content-Type": "application/json", **headers}
    try:
        async with session.post(url, data=body, headers=sent, allow_redirects=False) as answer:
            status, said = answer.status, _words(await answer.content.read(4 * _TOLD_CHARACTERS))
            after_s, place = _after_s(answer.headers.get("Retry-After")), answer.headers.get("Location", "")
    except TimeoutError:
        raise Later("no answer in time") from None
    except aiohttp.ClientConnectorError as error:
        raise Later(f"cannot be reached ({error.os_error.strerror or error.os_error})") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Later(f"the connection failed ({str(error) or type(error).__name__})") from None
    if 200 <= status < 300:
        return
    reason = f"HTTP {status}{f': {said}' if said else ''}"
    if status in _LATER or status >= 500:
        raise Later(reason, after_s)
    if 300 <= status < 400:
        raise Refused(f"HTTP {status}: it has moved to {place or 'nowhere'}; write that address")
    raise Refused(reason, final=status == 410)


def _words(body: bytes) -> str:
    """The beginning of an answer in one line."""
    text = " ".join(body.decode(errors="replace").split())
    return text if len(text) <= _TOLD_CHARACTERS else f"{text[: _TOLD_CHARACTERS - 1]}…"


def _after_s(header: str | None) -> float:
    """Retry-After in seconds, be it a number or a date (RFC 9110, 10.2.3); 0 when nobody can read it."""
    if header is None:
        return 0.0
    try:
        wait_s = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except ValueError:
        return 0.0
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)
