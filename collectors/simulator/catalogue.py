"""What a configuration file does not say about a simulated cluster: hardware, node sizes, layouts, workloads.

Powers are idle and board limits in W (TDP: spec tables, 2026); idle powers and token rates are plausible round
figures, not measurements. Everything is keyed by the cluster and deployment ids of ``compose/demo.toml``.
"""

from dataclasses import dataclass
from typing import Literal

MIG_DEN = 7
"""Compute slices of an NVIDIA data-centre GPU: a 3g instance is 3 of 7."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One product: the name as its exporter prints it, powers in W, memory in MiB (AMD: MB), clocks in MHz."""

    model: str
    vendor: Literal["nvidia", "amd"]
    idle_w: float
    limit_w: float
    memory_mib: int
    driver: str
    sm_clock_mhz: int
    memory_clock_mhz: int
    nvlinks: int = 0
    card_model: str = ""


A100 = Gpu("NVIDIA A100-SXM4-40GB", "nvidia", 52, 400, 40_960, "580.105.08", 1410, 1215, 12)
H100 = Gpu("NVIDIA H100 80GB HBM3", "nvidia", 68, 700, 81_559, "580.105.08", 1980, 2619, 18)
GH200 = Gpu("NVIDIA GH200 120GB", "nvidia", 74, 700, 97_871, "580.105.08", 1980, 2619, 18)
B200 = Gpu("NVIDIA B200", "nvidia", 140, 1000, 183_359, "580.126.20", 1965, 3996, 18)
MI300X = Gpu("AMD Instinct MI300X OAM", "amd", 138, 750, 196_592, "6.12.12", 2100, 1300, 0, "102-G30211-0C")
MI300A = Gpu("AMD Instinct MI300A", "amd", 118, 550, 131_072, "6.12.12", 2100, 1300, 0, "102-G30204-0C")


@dataclass(frozen=True, slots=True)
class Instance:
    """One MIG instance of a layout: profile, GPU instance id, compute share of 7, memory in MiB."""

    profile: str
    gi_id: int
    share: int
    memory_mib: int


H100_LAYOUTS: tuple[tuple[Instance, ...], ...] = (
    (Instance("3g.40gb", 1, 3, 40_448), Instance("2g.20gb", 3, 2, 20_096), Instance("2g.20gb", 5, 2, 20_096)),
    (Instance("3g.40gb", 1, 3, 40_448), Instance("3g.40gb", 2, 3, 40_448)),  # one seventh stays unallocated
    tuple(Instance("1g.10gb", gi, 1, 10_048) for gi in range(7, 14)),
)


@dataclass(frozen=True, slots=True)
class Tenancy:
    """Who asks for the GPUs that serve no model: a Slurm account or a Kubernetes namespace, and how often."""

    owner: str
    weight: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes of one kind in one cluster; nodes are named ``<pool>-<number>``."""

    gpu: Gpu
    per_node: int
    minimum: int
    """GPUs that the smallest fabric needs here so that every actor keeps a place."""
    tenants: tuple[Tenancy, ...]
    free_share: float = 0.1
    """Part of the slots that nobody asks for."""
    job_gpus: tuple[int, ...] = (4, 2, 1, 1)
    """Sizes of the jobs, in GPUs, used in turn; clipped to what is left of a node."""
    idle_jobs: int = 0
    """Jobs that hold their GPUs and never use them."""
    mig: tuple[tuple[Instance, ...], ...] = ()
    cpx_gpus: int = 0
    """GPUs of the last node that run as eight partitions (AMD CPX)."""
    nvlink_group: bool = False
    """Whether the page carries the link group, whose family repeats one of the GPU group."""


@dataclass(frozen=True, slots=True)
class Site:
    """One cluster: its scheduler and the forms that its exporters use."""

    scheduler: Literal["slurm", "kubernetes"]
    pools: dict[str, Pool]
    hostname_label: str = "hostname"
    """`Hostname` up to dcgm-exporter 4.5.3, `hostname` from 4.6.0."""
    amd_prefix: str = ""
    account_suffix: str = ""
    """What the batch system adds to an account's name: associations of the Alliance end in `_cpu` or `_gpu`."""
    maintenance: bool = False
    """Whether nodes are drained and their driver reloaded now and then."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How a deployment serves. Rates in tokens/s per GPU, streams in tokens/s of one request at low load."""

    pool: str
    tensor_parallel: int
    owner: str
    """Namespace, or Slurm account, that holds the GPUs."""
    prefill_rate: float
    decode_rate: float
    stream_rate: float
    requests_per_gpu_s: float
    """Demand: mean arrivals per second and GPU."""
    engines: int = 1
    """Data-parallel engines behind one address."""
    max_batch: int = 256
    cached_share: float = 0.3
    """Part of a prompt that the prefix cache holds on average."""


_RESEARCH = (Tenancy("rrg-aurora", 4), Tenancy("rrg-tundra", 3), Tenancy("def-harbour", 2))
_CHAIRS = (Tenancy("aip-glacier", 3), Tenancy("rrg-aurora", 2), Tenancy("def-harbour", 1))

SITES: dict[str, Site] = {
    "narval": Site(
        "slurm",
        {"a100": Pool(A100, 4, 2, _RESEARCH, idle_jobs=1)},
        hostname_label="Hostname",
        account_suffix="_gpu",
        maintenance=True,
    ),
    "fir": Site(
        "slurm",
        {
            "h100": Pool(H100, 4, 2, _CHAIRS),
            "h100mig": Pool(H100, 4, 1, _CHAIRS, free_share=0.15, mig=H100_LAYOUTS),
        },
        hostname_label="Hostname",
        account_suffix="_gpu",
    ),
    "nibi": Site(
        "slurm",
        {
            "h100": Pool(H100, 8, 2, _RESEARCH, job_gpus=(8, 4, 2, 1, 1)),
            "mi300a": Pool(MI300A, 4, 1, _CHAIRS, job_gpus=(2, 1, 1)),
        },
        account_suffix="_gpu",
    ),
    "ai-fabric": Site(
        "kubernetes",
        {
            "h100": Pool(
                H100,
                8,
                4,
                (Tenancy("boreal-training", 3), Tenancy("cordillera-lab", 1)),
                free_share=0.15,
                job_gpus=(4, 2, 1, 1),
                idle_jobs=1,
            ),
            "b200": Pool(B200, 8, 2, (Tenancy("boreal-training", 1),), free_share=0.5, nvlink_group=True),
        },
    ),
    "mi300x": Site(
        "kubernetes",
        {"mi300x": Pool(MI300X, 8, 3, (Tenancy("cordillera-lab", 1),), free_share=0.3, cpx_gpus=1)},
        amd_prefix="amd_",
    ),
    "us-broker": Site(
        "kubernetes",
        {"h100": Pool(H100, 8, 2, (Tenancy("northern-lights-eval", 1),), free_share=0.2)},
        hostname_label="Hostname",
    ),
    "isambard": Site(
        "slurm",
        {"gh200": Pool(GH200, 4, 2, (Tenancy("pool.maritime", 2), Tenancy("pool.visitor", 1)), free_share=0.2)},
    ),
}

SERVING: dict[tuple[str, str], Serving] = {
    ("ai-fabric", "command-r-plus"): Serving("b200", 4, "llm-northern-lights", 6000, 620, 58, 0.55, max_batch=128),
    ("ai-fabric", "prairie-8b"): Serving("h100", 1, "llm-prairie", 14_000, 2600, 75, 3.7),
    ("ai-fabric", "shared-8b"): Serving("h100", 1, "llm-shared", 14_000, 2600, 75, 3.9, engines=2),
    ("mi300x", "atlantic-70b"): Serving("mi300x", 2, "llm-atlantic", 4500, 900, 48, 1.1, max_batch=192),
    ("us-broker", "command-r-plus-us"): Serving("h100", 4, "llm-northern-lights", 3500, 420, 44, 0.4, max_batch=128),
    ("isambard", "aya-8b"): Serving("gh200", 1, "pool.aya", 15_000, 2800, 80, 4.0),
}


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often things happen, in seconds. The first of each falls into a two-minute demonstration."""

    job_s: tuple[float, float] = (60.0, 400.0)
    gap_s: tuple[float, float] = (8.0, 30.0)
    first_pod_restart_s: tuple[float, float] = (25.0, 40.0)
    pod_restart_s: tuple[float, float] = (400.0, 900.0)
    load_s: float = 4.0
    """A restarted engine loads its model for so long before it serves."""
    first_drain_s: tuple[float, float] = (12.0, 18.0)
    drain_s: tuple[float, float] = (1200.0, 2400.0)
    reload_after_s: tuple[float, float] = (36.0, 44.0)
    """From the drain to the driver reload: the GPUs have long settled at idle by then."""


RHYTHM = Rhythm()


@dataclass(frozen=True, slots=True)
class Xid:
    """An NVIDIA XID with the text that dcgm-exporter prints beside it."""

    code: int = 0
    text: str = "No Error"


XID_NONE = Xid()
XID_UNCONTAINED = Xid(95, "Uncontained ECC error")
"""Ends with a GPU reset or a driver reload, so it is what sends a simulated node into maintenance."""
