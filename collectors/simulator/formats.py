"""How the exporters' languages print numbers and labels."""

from collections.abc import Mapping


def label_set(labels: Mapping[str, object]) -> str:
    """``{a="1",b="x"}`` in the given order. Values must need no escaping, as simulated ones never do."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}" if labels else ""


def sorted_label_set(labels: Mapping[str, object]) -> str:
    """The same in alphabetical order, as both Prometheus client libraries print."""
    return label_set(dict(sorted(labels.items())))


def python_float(value: float) -> str:
    """As Python's prometheus_client prints: ``0.0``, ``14250.0``, ``1.048576e+06``, ``1.7740113846e+09``."""
    text = repr(float(value))
    dot = text.find(".")
    if value <= 0 or dot <= 6:
        return text
    mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
    return f"{mantissa}e+{dot - 1:02d}"


def old_python_float(value: float) -> str:
    """The same before prometheus_client mended its exponent: ``3.4748194816e+010``."""
    text = python_float(value)
    head, mark, exponent = text.partition("e+")
    return f"{head}e+0{int(exponent)}" if mark else text


def go_float(value: float) -> str:
    """As client_golang prints (strconv 'g', shortest): ``0``, ``183265``, ``2.776148269e+09``, ``0.5``. Value >= 0."""
    if value < 1e6:
        return str(int(value)) if value == int(value) else repr(float(value))
    digits = repr(float(value))
    whole, _, fraction = digits.partition(".")
    if "e" in digits:  # Python writes exponents from 1e16 on, with the same digits as Go
        mantissa, _, exponent = digits.partition("e")
        return f"{mantissa.removesuffix('.0')}e+{int(exponent):02d}"
    shown = (whole + fraction).rstrip("0")
    return f"{shown[0]}{'.' if len(shown) > 1 else ''}{shown[1:]}e+{len(whole) - 1:02d}"
