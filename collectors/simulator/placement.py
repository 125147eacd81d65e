"""Where model servers stand: first fit, the widest first, on GPUs that are whole."""

from collectors.simulator.engines import EngineSpec
from collectors.simulator.tenants import Occupancy, Slot, Tenant
from collectors.simulator.topology import Node, Server, Topology

_KV_TOKENS_PER_GPU = 400_000.0


def place_servers(topology: Topology, occupancy: Occupancy) -> list[EngineSpec]:
    """Give every server its GPUs and number its engines. On a node smaller than it needs, an engine takes fewer GPUs.

    Raises ValueError when a pool has no whole GPU left.
    """
    specs: list[EngineSpec] = []
    job = 41_200_000
    pools = _whole_gpus(topology)
    for server in sorted(topology.servers, key=lambda one: -one.spec.tensor_parallel * one.spec.engines):
        free = pools.get((server.cluster, server.spec.pool), {})
        wanted = server.spec.tensor_parallel * server.spec.engines
        number = next((number for number, slices in free.items() if len(slices) >= wanted), None)
        if number is None:
            number = max(free, key=lambda one: len(free[one]), default=None)
        if number is None or len(free[number]) < server.spec.engines:
            raise ValueError(f"{server.url}: no free GPU in {server.cluster}/{server.spec.pool}; list fewer replicas")
        slices = free[number]
        server.gpus_per_engine = min(server.spec.tensor_parallel, len(slices) // server.spec.engines)
        job += 7
        tenant = _tenant(server, topology.nodes[number], job)
        for _ in range(server.spec.engines):
            part, slices = slices[: server.gpus_per_engine], slices[server.gpus_per_engine :]
            server.engines.append(len(specs))
            occupancy.serve(part, tenant, len(specs))
            specs.append(_engine(server))
        if slices:
            free[number] = slices
        else:
            del free[number]
    return specs


def make_slots(topology: Topology, occupancy: Occupancy) -> list[list[Slot]]:
    """What is left, cut into jobs of the pool's sizes: one list per pool."""
    pools: dict[tuple[str, str], list[Slot]] = {}
    turn = 0
    for node in topology.nodes:
        left = [number for number in range(node.slices.start, node.slices.stop) if occupancy.tenants[number] is None]
        slots = pools.setdefault((node.cluster, _pool_name(node)), [])
        whole = [number for number in left if not topology.slices[number].name]
        while whole:
            size = node.pool.job_gpus[turn % len(node.pool.job_gpus)]
            turn += 1
            slots.append(Slot(node.number, node.site, node.pool, tuple(whole[:size])))
            whole = whole[size:]
        slots.extend(
            Slot(node.number, node.site, node.pool, (number,)) for number in left if topology.slices[number].name
        )
    return list(pools.values())


def _pool_name(node: Node) -> str:
    return next(name for name, pool in node.site.pools.items() if pool is node.pool)


def _whole_gpus(topology: Topology) -> dict[tuple[str, str], dict[int, list[int]]]:
    """(cluster, pool) -> node number -> slices that are a whole GPU."""
    pools: dict[tuple[str, str], dict[int, list[int]]] = {}
    for node in topology.nodes:
        numbers = range(node.slices.start, node.slices.stop)
        whole = [number for number, part in zip(numbers, node.slice_list, strict=True) if not part.name]
        if whole:
            pools.setdefault((node.cluster, _pool_name(node)), {})[node.number] = whole
    return pools


def _tenant(server: Server, node: Node, job: int) -> Tenant:
    if node.site.scheduler == "slurm":
        return Tenant(job=str(job), account=server.spec.owner, user=f"u{job % 97 + 1}", deployment=server.deployment)
    pod = f"{server.name}-{job % 100_000:05x}"
    return Tenant(namespace=server.spec.owner, pod=pod, container="vllm", deployment=server.deployment)


def _engine(server: Server) -> EngineSpec:
    spec, gpus = server.spec, server.gpus_per_engine
    return EngineSpec(
        prefill_rate=spec.prefill_rate * gpus,
        decode_rate=spec.decode_rate * gpus,
        stream_rate=spec.stream_rate,
        max_batch=spec.max_batch,
        kv_tokens=_KV_TOKENS_PER_GPU * gpus,
    )
