"""What stands in the fabric: nodes with their GPUs and slices, model servers, gateways; read from the configuration."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from collectors.simulator.addresses import Address, parse, stem_of
from collectors.simulator.catalogue import MIG_DEN, SERVING, SITES, Gpu, Instance, Pool, Serving, Site
from collectors.simulator.scale import GPU_EXPORTERS
from schemas.config import Cluster, Config

CPX_PARTITIONS = 8
_BUS = (0x53, 0x64, 0x75, 0x86, 0x97, 0xA8, 0xB9, 0xCA)


@dataclass(frozen=True, slots=True)
class Slice:
    """What is given out: a GPU, a MIG instance or an AMD partition. Numbers are the fabric's, through all nodes."""

    device: int
    instance: Instance | None = None
    partition: int | None = None
    gpu_id: int = 0
    """Of a partition: AMD numbers partitions on through the node."""

    @property
    def share(self) -> tuple[int, int]:
        """Compute share of the device."""
        if self.instance:
            return self.instance.share, MIG_DEN
        return (1, CPX_PARTITIONS) if self.partition is not None else (1, 1)

    @property
    def name(self) -> str:
        """Profile and number as the exporter's labels give them (`3g.40gb/1`, `cpx/7`); empty = the whole device."""
        if self.instance:
            return f"{self.instance.profile}/{self.instance.gi_id}"
        return "" if self.partition is None else f"cpx/{self.gpu_id}"


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU: its place in the node and its identity (UUID; AMD: serial number)."""

    index: int
    identity: str
    uuid: str
    bus: str
    gpu: Gpu


@dataclass
class Node:
    """One host. `devices` and `slices` are ranges of the fabric's numbers."""

    number: int
    cluster: str
    name: str
    site: Site
    pool: Pool
    devices: slice
    device_list: list[Device]
    slices: slice
    slice_list: list[Slice]
    version: int = 0
    """Grows when a tenant or a fault code changes: cached page texts are then stale."""
    xid: list[int] = field(default_factory=list)
    """Last fault code of each device, 0 = none."""

    def entities(self) -> list[tuple[Device, Slice]]:
        """The slices with their devices, in the order in which exporters print them."""
        first: int = self.devices.start
        return [(self.device_list[part.device - first], part) for part in self.slice_list]


@dataclass
class Server:
    """One model server (a pod or a Slurm job) with its engines; one address."""

    cluster: str
    name: str
    url: str
    deployment: str
    model: str
    spec: Serving
    engines: list[int] = field(default_factory=list)
    gpus_per_engine: int = 0
    accepting: bool = True
    loading_until_s: float = 0.0
    started_s: float = 0.0
    process: int = 0
    """Number of the running process: 0, 1, 2 … grows at a restart."""
    drained_s: float | None = None
    scraped_s: float = float("-inf")
    """Moment of the newest state that a collector has fetched."""


@dataclass
class Gateway:
    """The gateway of one shared deployment; team number `first_team + k` is `teams[k]`."""

    cluster: str
    name: str
    url: str
    deployment: str
    model: str
    teams: list[str]
    first_team: int


@dataclass
class Topology:
    """Everything, in the order of the configuration."""

    nodes: list[Node] = field(default_factory=list)
    products: list[Gpu] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)
    teams: int = 0


def build(config: Config, seed: int) -> Topology:
    """Read an expanded configuration. Raises ValueError when something in it is not in the catalogue."""
    topology = Topology()
    models = {deployment.id: deployment.model for deployment in config.deployment}
    teams = sorted(
        {
            match.team
            for agreement in config.agreement
            for match in agreement.match
            if match.team and "*" not in match.team
        }
    )
    for cluster in config.cluster:
        if cluster.id not in SITES:
            raise ValueError(f"cluster {cluster.id!r} is not in the simulator's catalogue; known: {', '.join(SITES)}")
        site = SITES[cluster.id]
        for address in dict.fromkeys(parse(url) for url, _ in _urls(cluster, *GPU_EXPORTERS)):
            _add_node(topology, site, address, seed)
        for url, deployment in _urls(cluster, "vllm"):
            spec = SERVING.get((cluster.id, deployment))
            if spec is None:
                raise ValueError(f"{url}: deployment {deployment!r} is not in the simulator's catalogue")
            model = models.get(deployment, deployment)
            topology.servers.append(Server(cluster.id, parse(url).name, url, deployment, model, spec))
        for url, deployment in _urls(cluster, "litellm"):
            model = models.get(deployment, deployment)
            gateway = Gateway(cluster.id, parse(url).name, url, deployment, model, teams, topology.teams)
            topology.gateways.append(gateway)
            topology.teams += len(teams)
    return topology


def _urls(cluster: Cluster, *kinds: str) -> Iterator[tuple[str, str]]:
    for target in cluster.target:
        if target.kind in kinds:
            for url in target.urls:
                yield url, target.deployment


def _add_node(topology: Topology, site: Site, address: Address, seed: int) -> None:
    pool = site.pools.get(stem_of(address.name))
    if pool is None:
        raise ValueError(f"node {address.name!r} belongs to none of {address.cluster}'s pools: {', '.join(site.pools)}")
    first_device, first_slice = len(topology.products), len(topology.slices)
    devices = []
    for index in range(address.gpus or pool.per_node):
        number = first_device + index
        devices.append(_device(pool.gpu, address, index, number, seed))
        topology.products.append(pool.gpu)
        topology.slices.extend(_cut(pool, index, number))
    node = Node(
        number=len(topology.nodes),
        cluster=address.cluster,
        name=address.name,
        site=site,
        pool=pool,
        devices=slice(first_device, len(topology.products)),
        device_list=devices,
        slices=slice(first_slice, len(topology.slices)),
        slice_list=topology.slices[first_slice:],
        xid=[0] * len(devices),
    )
    if pool.cpx_gpus and not any(other.pool is pool for other in topology.nodes):
        _partition(topology, node, pool.cpx_gpus)
    topology.nodes.append(node)


def _cut(pool: Pool, index: int, device: int) -> list[Slice]:
    if pool.mig:
        return [Slice(device, instance=instance) for instance in pool.mig[index % len(pool.mig)]]
    return [Slice(device)]


def _partition(topology: Topology, node: Node, gpus: int) -> None:
    """Put the node's last GPUs into CPX mode."""
    whole = node.slice_list[:-gpus]
    parts = [(one.device, part) for one in node.slice_list[-gpus:] for part in range(CPX_PARTITIONS)]
    cut = [
        Slice(device, partition=part, gpu_id=gpu_id) for gpu_id, (device, part) in enumerate(parts, start=len(whole))
    ]
    node.slice_list = whole + cut
    topology.slices[node.slices.start :] = node.slice_list
    node.slices = slice(node.slices.start, len(topology.slices))


def _device(gpu: Gpu, address: Address, index: int, number: int, seed: int) -> Device:
    drawn = uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}/{address.cluster}/{address.name}/{index}")
    identity = f"GPU-{drawn}" if gpu.vendor == "nvidia" else f"6924{number:08d}"
    return Device(index, identity, str(drawn), f"00000000:{_BUS[index % len(_BUS)]:02X}:00.0", gpu)
