"""How single values of the configuration file are written: amounts, shares, durations, names, addresses."""

import math
import re
from datetime import time
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from schemas.money import NANO, parse_fraction


def _amount(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'amounts are strings; write "{value}" in quotes')
    return _non_negative(value)


def _number(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f'"{value}" is not a number; write for example 1.08')
    return _non_negative(value)


def _non_negative(value: str | int | float | Decimal) -> Fraction:
    number = parse_fraction(str(value))
    if number < 0:
        raise ValueError(f"{value} is negative; write 0 or more")
    return number


def _nine_places(value: Fraction) -> Fraction:
    if (value * NANO).denominator != 1:
        raise ValueError("has more than nine decimal places; round it to nine")
    return value


def _positive(value: Fraction) -> Fraction:
    if value == 0:
        raise ValueError("is zero; write more than 0")
    return value


def _share(value: Fraction) -> Fraction:
    if value > 1:
        raise ValueError(f'{value} is more than the whole; write a share from 0 to 1, such as "2/3"')
    return value


def duration_s(value: object) -> float:
    if isinstance(value, float) and value > 0:
        return value
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    if isinstance(value, str):
        number = value.rstrip("mshd")
        unit = value[len(number) :]
        try:
            if unit in units and 0 < (seconds := float(number) * units[unit]) < math.inf:
                return seconds
        except ValueError:
            pass
    raise ValueError(f'"{value}" is not a duration; write for example "10s", "2m" or "1h"')


def size_bytes(text: str) -> int:
    """`text` such as "4 GiB" or "500 MB" in bytes. Raises ValueError with the remedy."""
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    units |= {f"{prefix}i": 1 << 10 * power for power, prefix in enumerate("KMGT", 1)}
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([KMGT]i?)?B?", text.strip())
    if found is None:
        raise ValueError(f'"{text}" is not a size; write for example "4GiB" or "500MB"')
    return int(float(found[1]) * units[found[2] or ""])


def _written_as(pattern: str, remedy: str) -> AfterValidator:
    """A text that matches the pattern as a whole, else an error that says what to write."""

    def validate(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f'"{text}" does not fit; write {remedy}')
        return text

    return AfterValidator(validate)


def _url(example: str) -> AfterValidator:
    """An HTTP address, or an error that shows one."""

    def validate(text: str) -> str:
        try:
            parts = urlsplit(text)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f'"{text}" is not an address that can be read; write for example "{example}"')
        return text

    return AfterValidator(validate)


def _no_password(text: str) -> str:
    if urlsplit(text).password is not None:
        raise ValueError("a password does not belong in this file; take it out and set COMMONWATT_CLICKHOUSE_PASSWORD")
    return text


def _no_credentials(text: str) -> str:
    if urlsplit(text).username is not None:
        raise ValueError(
            "a password does not belong in this file; take it out and name the environment variable that holds it"
        )
    return text


def _ends_with_path(text: str) -> str:
    if urlsplit(text).query or urlsplit(text).fragment:
        raise ValueError(f'"{text}" goes on after its path; write the address without "?" and "#"')
    return text.rstrip("/")


def _kafka_url(text: str) -> str:
    scheme, _, servers = text.partition("://")
    if scheme != "kafka" or not all(re.fullmatch(r"[^\s:/,]+:\d{1,5}", server) for server in servers.split(",")):
        raise ValueError(f'"{text}" is not a list of brokers; write for example "kafka://broker-1:9092,broker-2:9092"')
    return text


def _names(value: object) -> object:
    return {"en": value, "fr": value} if isinstance(value, str) else value


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (LookupError, ValueError, OSError):
        raise ValueError(f'"{text}" is not a time zone; write for example "America/Vancouver"') from None
    return text


def _time_of_day(value: object) -> object:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value) is None:
        raise ValueError(f'"{value}" is not a time of day; write for example "07:00"')
    return time.fromisoformat(value)


def written(value: Fraction) -> str:
    """As it would stand in a file: a decimal where one of nine places is exact, else a fraction."""
    for places in range(10):
        if (value * 10**places).denominator == 1:
            digits = str((value * 10**places).numerator).rjust(places + 1, "0")
            return f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return str(value)


_AS_TEXT = PlainSerializer(written)

Amount = Annotated[Fraction, BeforeValidator(_amount), AfterValidator(_nine_places), _AS_TEXT]
"""Money, exact to nine decimal places, in quotes."""
Number = Annotated[Fraction, BeforeValidator(_number), AfterValidator(_nine_places), _AS_TEXT]
"""A plain figure, exact to nine decimal places; quotes optional."""
Share = Annotated[Fraction, BeforeValidator(_number), AfterValidator(_share), _AS_TEXT]
"""A fraction of the whole, 0..1, kept exactly: 2/3 is 2 and 3."""
Positive = AfterValidator(_positive)
Timezone = Annotated[str, AfterValidator(_timezone)]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day), PlainSerializer(lambda clock: clock.strftime("%H:%M"))]
"""Local, whole minutes, as "07:00"."""
Seconds = Annotated[float, BeforeValidator(duration_s)]
Id = Annotated[
    str,
    _written_as(
        r"[a-z0-9][a-z0-9._-]{0,99}", 'small letters, digits, ".", "_" and "-", at most 100, such as "acme-ai"'
    ),
]
Country = Annotated[str, _written_as(r"[A-Z]{2}", 'the two capital letters of ISO 3166, such as "CA"')]
Currency = Annotated[str, _written_as(r"[A-Z]{3}", 'the three capital letters of ISO 4217, such as "CAD"')]
KafkaUrl = Annotated[str, AfterValidator(_kafka_url)]
ServerUrl = Annotated[str, _url("https://clickhouse:8443"), AfterValidator(_no_password)]
Names = Annotated[dict[Literal["en", "fr"], str], BeforeValidator(_names)]
"""A name in each language. One text in the file stands for both."""
HttpUrl = Annotated[str, _url("http://fir-g001:9400/metrics")]
BaseUrl = Annotated[
    str, _url("https://alerts.example:9093"), AfterValidator(_no_credentials), AfterValidator(_ends_with_path)
]
"""Where a service begins; paths are added to it."""
HookUrl = Annotated[str, _url("https://desk.example/commonwatt"), AfterValidator(_no_credentials)]
EnvName = Annotated[
    str, _written_as(r"[A-Za-z_][A-Za-z0-9_]{0,99}", "the name of a variable, such as COMMONWATT_OPS_SECRET")
]
"""Name of an environment variable: what is secret does not stand in the file."""
