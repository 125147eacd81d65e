"""The simulated fabric: what stands in it, what happens in it, and the pages that tell of it.

Time is a number of seconds on the fabric's own clock. It advances in steps of STEP_S, whenever somebody asks; between
two steps power and energy are exact functions of time, tokens are those of the last step. The same configuration, seed
and moments of scraping give the same pages, byte for byte.
"""

import numpy as np

from collectors.simulator.addresses import parse
from collectors.simulator.catalogue import RHYTHM, SERVING, Rhythm
from collectors.simulator.demand import Arrivals, Trace, default_trace
from collectors.simulator.devices import Devices
from collectors.simulator.engines import Engines
from collectors.simulator.gateway import Teams
from collectors.simulator.happenings import Maintenance, PodRestarts
from collectors.simulator.pages.amd import AmdPage
from collectors.simulator.pages.dcgm import DcgmPage
from collectors.simulator.pages.litellm import LiteLlmPage
from collectors.simulator.pages.reading import NodeReading
from collectors.simulator.pages.slurm import SlurmPage
from collectors.simulator.pages.vllm import VllmPage
from collectors.simulator.placement import make_slots, place_servers
from collectors.simulator.record import Counter, NodeLedger, Record, TargetLedger, TokenLedger
from collectors.simulator.router import Flow
from collectors.simulator.scale import GPU_EXPORTERS, expand
from collectors.simulator.targets import GatewayTarget, GpuTarget, JobTarget, ServerTarget, Target
from collectors.simulator.tenants import Jobs, Occupancy, Slot
from collectors.simulator.topology import Node, Topology, build
from schemas.config import Config

__all__ = ["STEP_S", "WARM_UP_S", "Fabric", "expand"]

STEP_S = 0.25
WARM_UP_S = 60.0
"""What has already happened when the first page is asked for: queues, counters and power are in their steady state."""


class Fabric:
    """State of the whole fabric. `config` is expanded; `epoch_unix_s` is the wall clock at 0 s of the fabric's."""

    def __init__(
        self,
        config: Config,
        *,
        seed: int = 0,
        epoch_unix_s: float = 0.0,
        trace: Trace | None = None,
        rhythm: Rhythm = RHYTHM,
    ) -> None:
        """Raises ValueError when the configuration names something that the catalogue does not know."""
        streams = [np.random.default_rng([seed, stream]) for stream in range(2, 7)]
        self.topology = build(config, seed)
        self.now_s = 0.0
        self.record = Record(seed, epoch_unix_s)
        self.devices = Devices(self.topology.products, streams[0])
        self.occupancy = Occupancy(len(self.topology.slices))
        self.engines = Engines(place_servers(self.topology, self.occupancy))
        self.teams = Teams(self.topology.teams)
        self._slice_device = np.array([part.device for part in self.topology.slices], dtype=np.int64)
        self._slice_share = np.array([part.share[0] / part.share[1] for part in self.topology.slices])
        self._slice_busy = np.zeros(len(self.topology.slices))
        self._slice_intensity = np.zeros(len(self.topology.slices))
        self._device_busy = np.zeros(len(self.topology.products))
        self._device_intensity = np.zeros(len(self.topology.products))
        self._flows = _flows(self.topology, trace or default_trace(seed), streams[1])
        self._jobs = Jobs(self.occupancy, streams[2], rhythm)
        for slots in make_slots(self.topology, self.occupancy):
            self._jobs.open_slots(slots, WARM_UP_S)
        self.targets: dict[str, Target] = {}
        self._open_targets(config)
        servers, record = self.topology.servers, self.record
        self._restarts = PodRestarts(servers, self.engines, record, streams[3], rhythm, WARM_UP_S)
        self._maintenance = Maintenance(
            [node for node in self.topology.nodes if node.site.maintenance],
            self.record.nodes,
            self.devices,
            self._jobs,
            self._turn,
            record,
            streams[4],
            rhythm,
            WARM_UP_S,
        )
        self._load()
        self.devices.settle()
        self.advance(WARM_UP_S)

    def advance(self, to_s: float) -> None:
        """Let everything up to this moment happen."""
        while self.now_s + STEP_S <= to_s:
            self._step()

    def read(self, node: Node, at_s: float) -> NodeReading:
        """What the exporters of a node find at `at_s`, at most one step after the last one."""
        since = at_s - self.now_s
        life = self.devices.energy_at(node.devices, since)
        return NodeReading(
            power_w=self.devices.power_at(node.devices, since),
            counter_j=life - self.devices.counter_zero_j[node.devices],
            life_j=life,
            heat_c=self.devices.heat_c[node.devices],
            device_busy=self._device_busy[node.devices],
            device_intensity=self._device_intensity[node.devices],
            slice_busy=self._slice_busy[node.slices],
            slice_intensity=self._slice_intensity[node.slices],
            tenants=self.occupancy.tenants[node.slices],
            xid=list(node.xid),
            version=node.version,
        )

    def _step(self) -> None:
        self.devices.step(STEP_S)
        self.now_s += STEP_S
        for slot in self._jobs.due(self.now_s):
            self._turn(slot, self.now_s)
        self._restarts.step(self.now_s)
        self._maintenance.step(self.now_s)
        for flow in self._flows:
            flow.deliver(self.now_s, self.engines)
        ended = self.engines.step(self.now_s, STEP_S)
        self.teams.finish(ended.team, ended.prompt, ended.generated)
        self._load()

    def _turn(self, slot: Slot, now_s: float) -> None:
        """A job ends or starts: the tenant of its slices changes."""
        node = self.topology.nodes[slot.node]
        before = self.occupancy.tenants[node.slices]
        self.record.nodes[node.number].changed(now_s, self.devices.energy_j[node.devices], before)
        self._jobs.turn(slot)
        node.version += 1

    def _load(self) -> None:
        """What everybody's work asks of the GPUs until the next step."""
        busy, intensity = self.occupancy.work(self.now_s, self.engines.busy, self.engines.intensity)
        count = len(self.topology.products)
        self._slice_busy, self._slice_intensity = busy, intensity
        self._device_busy = np.bincount(self._slice_device, busy * self._slice_share, count).astype(np.float64)
        self._device_intensity = np.bincount(self._slice_device, intensity * self._slice_share, count).astype(
            np.float64
        )
        self.devices.aim(self._device_intensity)

    def _open_targets(self, config: Config) -> None:
        nodes = {(node.cluster, node.name): node for node in self.topology.nodes}
        urls = {
            (parse(url).cluster, parse(url).name): url
            for cluster in config.cluster
            for target in cluster.target
            if target.kind in GPU_EXPORTERS
            for url in target.urls
        }
        for key, node in nodes.items():
            nvidia = node.pool.gpu.vendor == "nvidia"
            kind = "dcgm-exporter" if nvidia else "amd-device-metrics-exporter"
            ledger = NodeLedger(TargetLedger(urls[key], kind, node.cluster), node)
            self.record.nodes.append(ledger)
            page = DcgmPage(node) if nvidia else AmdPage(node)
            self._open(urls[key], GpuTarget(node, page, self.read, ledger))
        for cluster in config.cluster:
            for target in cluster.target:
                for url in target.urls if target.kind == "slurm-job-exporter" else ():
                    address = parse(url)
                    if (address.cluster, address.name) not in nodes:
                        raise ValueError(f"{url}: no GPU exporter stands on node {address.name!r}")
                    node = nodes[address.cluster, address.name]
                    jobs = TargetLedger(url, target.kind, cluster.id)
                    self.record.others.append(jobs)
                    self._open(url, JobTarget(node, SlurmPage(node), self.read, jobs))
        self._open_token_targets()

    def _open_token_targets(self) -> None:
        for server in self.topology.servers:
            counters = [Counter(str(number), "") for number in range(len(server.engines))]
            at = TargetLedger(server.url, "vllm", server.cluster)
            ledger = TokenLedger(at, server.deployment, server.model, "engine", counters)
            self.record.tokens.append(ledger)
            page = VllmPage(server, self.engines, self.record.epoch_unix_s)
            self._open(server.url, ServerTarget(server, page, self.engines, ledger, lambda: self.now_s))
        for gateway in self.topology.gateways:
            counters = [Counter("", team) for team in gateway.teams]
            at = TargetLedger(gateway.url, "litellm", gateway.cluster)
            ledger = TokenLedger(at, gateway.deployment, gateway.model, "gateway", counters)
            self.record.tokens.append(ledger)
            gateway_page = LiteLlmPage(gateway, self.teams, self.record.epoch_unix_s)
            self._open(gateway.url, GatewayTarget(gateway, gateway_page, self.teams, ledger))

    def _open(self, url: str, target: Target) -> None:
        self.targets[parse(url).path] = target


def _flows(topology: Topology, trace: Trace, random: np.random.Generator) -> list[Flow]:
    """One stream of requests per deployment, in proportion to the GPUs that serve it."""
    flows = []
    for key in dict.fromkeys((server.cluster, server.deployment) for server in topology.servers):
        servers = [server for server in topology.servers if (server.cluster, server.deployment) == key]
        spec = SERVING[key]
        gpus = sum(len(server.engines) * server.gpus_per_engine for server in servers)
        arrivals = Arrivals(trace, spec.requests_per_gpu_s * gpus, float(random.uniform()))
        own = np.random.default_rng(random.integers(2**32))
        gateway = next((one for one in topology.gateways if (one.cluster, one.deployment) == key), None)
        flows.append(Flow(spec, servers, arrivals, gateway, own))
    return flows
