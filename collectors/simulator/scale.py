"""From the federated fabric of ``demo.toml`` to one of about N GPUs at a real address."""

from collections.abc import Iterator, Mapping

from collectors.simulator.addresses import Address, Range, parse, parse_range, stem_of, waits
from collectors.simulator.catalogue import SERVING, SITES, Pool
from schemas.config import Cluster, Config, Target

GPU_EXPORTERS = ("dcgm-exporter", "amd-device-metrics-exporter")


def needs_expanding(config: Config) -> bool:
    """Whether any address is a placeholder."""
    return any(waits(url) for cluster in config.cluster for target in cluster.target for url in target.urls)


def expand(config: Config, *, gpus: int, base_url: str) -> Config:
    """The same fabric with about `gpus` GPUs, served at `base_url` (``http://127.0.0.1:9000``).

    Every actor keeps at least one place and the proportions hold as far as whole nodes allow; a pool smaller than one
    of its nodes becomes a node with fewer GPUs. Raises ValueError when an address or a cluster is not the simulator's.
    """
    if gpus < 1:
        raise ValueError(f"{gpus} GPUs cannot be simulated; ask for 32 or more")
    written = dict(_written_gpus(config))
    total = sum(written.values())
    if not total:
        raise ValueError("the configuration names no GPU exporter to simulate")
    wanted = {key: _shape(_pool(*key), count * gpus / total) for key, count in written.items()}
    ratio = {key: nodes * size / written[key] for key, (nodes, size) in wanted.items()}
    clusters = [_expand_cluster(cluster, wanted, ratio, base_url.rstrip("/")) for cluster in config.cluster]
    return config.model_copy(update={"cluster": clusters})


def _written_gpus(config: Config) -> Iterator[tuple[tuple[str, str], int]]:
    """(cluster, pool) and its GPUs as the file says."""
    for cluster in config.cluster:
        for target in cluster.target:
            if target.kind in GPU_EXPORTERS:
                for url in target.urls:
                    address = parse(url)
                    family = parse_range(address.name)
                    pool = _pool(address.cluster, stem_of(address.name))
                    nodes = family.count if family else 1
                    yield (address.cluster, stem_of(address.name)), nodes * (address.gpus or pool.per_node)


def _pool(cluster: str, pool: str) -> Pool:
    try:
        return SITES[cluster].pools[pool]
    except KeyError:
        known = ", ".join(f"{site}/{name}" for site, spec in SITES.items() for name in spec.pools)
        raise ValueError(f"{cluster}/{pool} is not in the simulator's catalogue; known: {known}") from None


def _shape(pool: Pool, gpus: float) -> tuple[int, int]:
    """Nodes and GPUs per node."""
    if gpus >= pool.per_node:
        return round(gpus / pool.per_node), pool.per_node
    return 1, min(max(pool.minimum, round(gpus)), pool.per_node)


def _expand_cluster(
    cluster: Cluster,
    wanted: Mapping[tuple[str, str], tuple[int, int]],
    ratio: Mapping[tuple[str, str], float],
    base: str,
) -> Cluster:
    targets = [
        target.model_copy(
            update={"urls": [base + path for url in target.urls for path in _paths(target, url, wanted, ratio)]}
        )
        for target in cluster.target
    ]
    return cluster.model_copy(update={"target": targets})


def _paths(
    target: Target, url: str, wanted: Mapping[tuple[str, str], tuple[int, int]], ratio: Mapping[tuple[str, str], float]
) -> list[str]:
    address = parse(url)
    family = parse_range(address.name)
    if target.kind == "vllm":
        return _replicas(target, address, family, ratio)
    if target.kind == "litellm" or family is None:
        return [address.path]
    key = (address.cluster, stem_of(address.name))
    if key not in wanted:
        raise ValueError(f"{url}: no GPU exporter of the cluster covers these nodes")
    nodes, size = wanted[key]
    smaller = size if size < _pool(*key).per_node else None
    return [Address(address.cluster, family.name(i), address.exporter, smaller).path for i in range(nodes)]


def _replicas(
    target: Target, address: Address, family: Range | None, ratio: Mapping[tuple[str, str], float]
) -> list[str]:
    spec = SERVING.get((address.cluster, target.deployment))
    if spec is None:
        raise ValueError(f"{address.cluster}/{target.deployment} is not a deployment of the simulator's catalogue")
    if family is None:
        return [address.path]
    count = max(1, int(family.count * ratio[address.cluster, spec.pool] + 1e-9))
    return [Address(address.cluster, family.name(i), address.exporter).path for i in range(count)]
