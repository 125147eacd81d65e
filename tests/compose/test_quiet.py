"""What a library says again and again is said once in a while."""

import logging

from compose.quiet import Sparing


def passes(sparing: Sparing, name: str, text: str, *values: object) -> bool:
    """Whether a line comes through."""
    return sparing.filter(logging.LogRecord(name, logging.ERROR, "x.py", 1, text, values, None))


def test_the_same_words_come_once() -> None:
    """Whatever the figures in them; other words, of other parts of the library and of others, all come."""
    sparing = Sparing("aiokafka")
    assert passes(sparing, "aiokafka", "cannot reach node %d", 1)
    assert not passes(sparing, "aiokafka", "cannot reach node %d", 2)
    assert passes(sparing, "aiokafka", "reached node %d", 1)
    assert passes(sparing, "aiokafka.producer", "cannot reach node %d", 1)
    assert all(passes(sparing, "streams.worker", "reads %s", "it") for _ in range(2))
    assert all(passes(sparing, "aiokafkaesque", "reads %s", "it") for _ in range(2))


def test_they_come_again_later() -> None:
    """After the time that was asked for."""
    sparing = Sparing("aiokafka", every_s=0)
    assert all(passes(sparing, "aiokafka", "cannot reach node %d", 1) for _ in range(2))
