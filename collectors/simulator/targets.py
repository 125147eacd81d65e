"""The addresses that the fabric answers: a page made now, and a note in the record once it has been delivered."""

from collections.abc import Callable
from typing import Protocol

from collectors.simulator.engines import Engines
from collectors.simulator.gateway import Teams
from collectors.simulator.pages.litellm import LiteLlmPage
from collectors.simulator.pages.reading import NodeReading
from collectors.simulator.pages.vllm import VllmPage
from collectors.simulator.record import NodeLedger, TargetLedger, TokenLedger, Totals
from collectors.simulator.topology import Gateway, Node, Server

Answer = tuple[bytes, Callable[[], None]]
"""A page, and what to call when the reader has all of it."""


class Target(Protocol):
    """One address."""

    content_type: str

    def answer(self, at_s: float) -> Answer:
        """The page at this moment of the fabric's clock; the fabric has been advanced to it."""
        ...


class NodePage(Protocol):
    """A page made from what an exporter finds on its node."""

    content_type: str

    def render(self, reading: NodeReading) -> bytes:
        """The page as of this reading."""
        ...


class GpuTarget:
    """A GPU exporter: the one that the record of its node follows."""

    def __init__(
        self, node: Node, page: NodePage, read: Callable[[Node, float], NodeReading], ledger: NodeLedger
    ) -> None:
        self.content_type = page.content_type
        self._node, self._page, self._read, self._ledger = node, page, read, ledger

    def answer(self, at_s: float) -> Answer:
        """See :class:`Target`."""
        reading = self._read(self._node, at_s)

        def delivered() -> None:
            self._ledger.scraped(at_s, reading.life_j, reading.tenants, reading.version)

        return self._page.render(reading), delivered


class JobTarget:
    """slurm-job-exporter: names jobs, meters nothing."""

    def __init__(
        self, node: Node, page: NodePage, read: Callable[[Node, float], NodeReading], ledger: TargetLedger
    ) -> None:
        self.content_type = page.content_type
        self._node, self._page, self._read, self._ledger = node, page, read, ledger

    def answer(self, at_s: float) -> Answer:
        """See :class:`Target`."""
        return self._page.render(self._read(self._node, at_s)), lambda: self._ledger.scraped(at_s)


class ServerTarget:
    """A model server. The state that a page shows is that of the fabric's last step, `now()`."""

    def __init__(
        self, server: Server, page: VllmPage, engines: Engines, ledger: TokenLedger, now: Callable[[], float]
    ) -> None:
        self.content_type = page.content_type
        self._server, self._page, self._engines, self._ledger, self._now = server, page, engines, ledger, now

    def answer(self, at_s: float) -> Answer:
        """See :class:`Target`."""
        totals, state_s = [self._totals(engine) for engine in self._server.engines], self._now()

        def delivered() -> None:
            self._ledger.scraped(at_s, totals)
            self._server.scraped_s = state_s

        return self._page.render(), delivered

    def _totals(self, engine: int) -> Totals:
        life = self._engines.life
        prompt, cached, generated = (
            int(life[name][engine]) for name in ("prompt_tokens", "cached_tokens", "generation_tokens")
        )
        return prompt, cached, generated, int(life["stopped"][engine] + life["cut_off"][engine])


class GatewayTarget:
    """A gateway: tokens by team, counted when a request ends; it does not see the engines' caches."""

    def __init__(self, gateway: Gateway, page: LiteLlmPage, teams: Teams, ledger: TokenLedger) -> None:
        self.content_type = page.content_type
        self._gateway, self._page, self._teams, self._ledger = gateway, page, teams, ledger

    def answer(self, at_s: float) -> Answer:
        """See :class:`Target`."""
        first = self._gateway.first_team
        teams = self._teams
        totals: list[Totals] = [
            (int(teams.prompt_tokens[n]), 0, int(teams.generation_tokens[n]), int(teams.requests[n]))
            for n in range(first, first + len(self._gateway.teams))
        ]
        return self._page.render(), lambda: self._ledger.scraped(at_s, totals)
