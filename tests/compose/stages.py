"""Pages of exporters whose counters are set by hand, stage by stage, and the configuration that reads them.

Every page goes through four stages: a start, an advance, a break (driver reload, another tenant, a restarted server)
and another advance.

Prices are chosen for paper. On fir a GPU-second costs CAD 0.001 and an energy of 8 mJ CAD 1e-9: a purchase of 8766 over
one year of 8,766 hours is 1 an hour, with 2.60 for operation 3.60 an hour; 0.36 a kWh at a PUE of 1.25 is 0.45 per
3.6e9 mJ. On oak a GPU-second costs USD 0.001, which is CAD 0.0014.
"""

STAGES = 4
BREAK = 2

H100 = 'modelName="NVIDIA H100 80GB HBM3",Hostname="fir-g001"'
POWER_W = 400

# mJ, stage by stage; the third of GPU-whole is a driver reload. Steps of slices divide by 7.
WHOLE_MJ = (5_000_000, 5_360_000, 40_000, 400_000)
TENANT_MJ = (1_000_000, 1_700_000, 1_900_000, 2_000_000)
MIG_MJ = (10_000_000, 10_700_000, 10_770_000, 10_777_000)
PART_MJ = (2_000_000, 2_070_000, 2_077_000, 2_147_000)
AMD_UJ = (7_000_000_999, 7_000_360_500, 7_000_361_499, 7_004_000_000)  # in the ledger whole mJ, rounded down

# prompt, cached, generation, requests; the third stage is a new process
CHAT = ((1000, 100, 500, 10), (1500, 150, 700, 14), (40, 5, 20, 1), (240, 30, 120, 6))
CHAT_SERVED = (500 + 40 + 200, 50 + 5 + 25, 200 + 20 + 100, 4 + 1 + 5)
POOL = ((150, 0, 15, 2), (550, 0, 115, 4), (650, 0, 215, 6), (1350, 0, 415, 9))
ACME = ((100, 10), (400, 110), (400, 110), (1000, 310))
LAB = ((50, 5), (150, 5), (250, 105), (350, 105))
ACME_SERVED = (900, 300)
LAB_SERVED = (300, 100)

CONFIG = """
[notify]
[[notify.alertmanager]]
urls = ["{dead}"]

[[cluster]]
id = "fir"
country = "CA"
pue = 1.25
[[cluster.target]]
kind = "dcgm-exporter"
urls = ["{url}/whole", "{url}/tenant", "{url}/mig", "{url}/part", "{dead}"]
interval = "1s"
[[cluster.target]]
kind = "vllm"
urls = ["{url}/chat"]
interval = "1s"
deployment = "chat"
[[cluster.target]]
kind = "vllm"
urls = ["{url}/pool"]
interval = "1s"
deployment = "pool"
[[cluster.target]]
kind = "litellm"
urls = ["{url}/gateway"]
interval = "1s"
deployment = "pool"

[[cluster]]
id = "oak"
country = "US"
[[cluster.target]]
kind = "amd-device-metrics-exporter"
urls = ["{url}/amd"]
interval = "1s"

[[deployment]]
id = "chat"
cluster = "fir"
model = "big"
match = {{ namespace = "chat" }}
agreement = "acme"
[[deployment]]
id = "pool"
cluster = "fir"
model = "small"
match = {{ namespace = "pool" }}
shared = true

[[price]]
id = "fir-h100"
cluster = "fir"
gpu_model = "NVIDIA H100*"
basis = "owned"
capex = "8766"
lifetime_years = 1
opex_per_gpu_hour = "2.60"
energy_per_kwh = "0.36"
effective_from = 2020-01-01
[[price]]
id = "oak-mi300x"
cluster = "oak"
gpu_model = "*MI300X*"
basis = "rented"
per_gpu_hour = "3.60"
currency = "USD"
effective_from = 2020-01-01
[[fx_rate]]
base = "USD"
quote = "CAD"
rate = "1.40"
effective_from = 2020-01-01

[[programme]]
id = "fund"
budget = "1000000"
starts = 2020-01-01
ends = 2036-12-31
[[agreement]]
id = "acme"
programme = "fund"
recipient = "Acme AI Inc."
rule = {{ kind = "cost_share", share = "2/3", elsewhere = "1/2" }}
cap = "500"
starts = 2020-01-01
ends = 2036-12-31
match = [{{ namespace = "acme-*" }}, {{ team = "acme" }}]
[[agreement]]
id = "lab"
programme = "fund"
recipient = "A university"
rule = {{ kind = "credits" }}
cap = "50"
starts = 2020-01-01
ends = 2036-12-31
match = [{{ namespace = "lab-*" }}, {{ team = "lab" }}]
"""


def dcgm(device: str, energy_mj: int, *slices: str, busy: float = 0.5) -> str:
    """A device's series, once for each of its slices (labels of instance and holder), as dcgm-exporter repeats them."""
    page = ""
    for labels in slices:
        identity = f'gpu="0",UUID="{device}",{H100}{labels}'
        page += f"DCGM_FI_DEV_POWER_USAGE{{{identity}}} {POWER_W}\n"
        page += f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{identity}}} {energy_mj}\n"
        page += f"DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{identity}}} {busy}\n"
    return page


def held(namespace: str, pod: str, profile: str = "", instance: int = 0) -> str:
    """Labels of a holder, and of the MIG instance that it holds."""
    mig = f',GPU_I_PROFILE="{profile}",GPU_I_ID="{instance}"' if profile else ""
    return f'{mig},namespace="{namespace}",pod="{pod}",container="main"'


def amd(energy_uj: int) -> str:
    labels = 'gpu_id="0",serial_number="AMD-1",hostname="oak-1",card_series="AMD Instinct MI300X",'
    labels += 'namespace="acme-us",pod="p"'
    return f"gpu_package_power{{{labels}}} {POWER_W}\ngpu_energy_consumed{{{labels}}} {energy_uj}\n"


def vllm(started_s: float, prompt: int, cached: int, generation: int, requests: int) -> str:
    labels = 'engine="0",model_name="m"'
    return (
        f"process_start_time_seconds {started_s:.3f}\n"
        f"vllm:prompt_tokens_total{{{labels}}} {prompt}\n"
        f"vllm:prompt_tokens_cached_total{{{labels}}} {cached}\n"
        f"vllm:generation_tokens_total{{{labels}}} {generation}\n"
        f'vllm:request_success_total{{{labels},finished_reason="stop"}} {requests}\n'
    )


def litellm(**teams: tuple[int, int]) -> str:
    page = "process_start_time_seconds 1.7e9\n"
    for team, (prompt, generation) in teams.items():
        page += f'litellm_input_tokens_metric_total{{team="{team}",model="m",end_user="None"}} {prompt}\n'
        page += f'litellm_output_tokens_metric_total{{team="{team}",model="m",end_user="None"}} {generation}\n'
    return page


def stage(number: int, chat_started_s: float) -> dict[str, str]:
    """All pages of one stage."""
    tenant = held("lab-a", "train-1") if number < 2 else held("acme-b", "train-2")
    return {
        "/whole": dcgm("GPU-whole", WHOLE_MJ[number], held("chat", "chat-0")),
        "/tenant": dcgm("GPU-tenant", TENANT_MJ[number], tenant),
        "/mig": dcgm(
            "GPU-mig", MIG_MJ[number], held("pool", "p-0", "3g.40gb", 1), held("lab-b", "nb", "4g.40gb", 2), busy=0.25
        ),
        "/part": dcgm("GPU-part", PART_MJ[number], held("pool", "p-1", "3g.40gb", 1)),
        "/amd": amd(AMD_UJ[number]),
        "/chat": vllm(chat_started_s, *CHAT[number]),
        "/pool": vllm(1.7e9, *POOL[number]),
        "/gateway": litellm(acme=ACME[number], lab=LAB[number]),
    }
