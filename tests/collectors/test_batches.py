"""Record batches on the wire contract: nulls, labels encoded once, devices never cut in two, accounts filled in."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from collectors.accounts import REMEMBER_S, Accounts
from collectors.batches import GpuBatches, Timed, TokenBatches
from collectors.readings import GpuReading, GpuRows
from schemas.arrow import ARROW, decode, encode
from schemas.samples import GpuSample, TokenSample
from schemas.topics import MAX_ROWS
from tests.collectors.support import gpu, tokens

PAGE = """\
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1",modelName="NVIDIA H100",Hostname="n1",hpc_job="42"} 100.5
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-1",modelName="NVIDIA H100",Hostname="n1",hpc_job="42"} 7
DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-2",modelName="NVIDIA H100",Hostname="n1"} 30
"""
TS_MS = 1_700_000_000_123


def _many(devices: int, slices: int) -> GpuReading:
    """A reading of our own making: `devices` GPUs with `slices` slices each."""
    n = devices * slices
    device = [f"GPU-{i // slices}" for i in range(n)]
    text = [""] * n
    rows = GpuRows(text, device, [str(i % slices) for i in range(n)], [1] * n, [slices] * n, text, text, text, text)
    return GpuReading("nvidia", rows, np.ones((5, n)), np.ones((2, n), np.int64), np.zeros(n, np.int32), n, [])


def test_gpu_batch_holds_the_contract() -> None:
    """Every row is valid under the model, and what was not measured is null, never zero."""
    (batch,) = GpuBatches(Accounts()).batches([Timed(TS_MS, gpu("dcgm-exporter", PAGE))])
    decoded = decode(encode(batch), "gpu-samples/1", ARROW)
    assert [GpuSample(**row).model_dump(exclude_defaults=True) for row in decoded.to_pylist()] == [
        {
            "ts": datetime(2023, 11, 14, 22, 13, 20, 123000, UTC),
            "node": "n1",
            "device": "GPU-1",
            "vendor": "nvidia",
            "gpu_model": "NVIDIA H100",
            "power_w": 100.5,
            "energy_mj": 7,
            "job": "42",
        },
        {
            "ts": datetime(2023, 11, 14, 22, 13, 20, 123000, UTC),
            "node": "n1",
            "device": "GPU-2",
            "vendor": "nvidia",
            "gpu_model": "NVIDIA H100",
            "temperature_c": 30.0,
        },
    ]


def test_token_batch_holds_the_contract() -> None:
    """Endpoint, deployment and layer come from the target, counters stay exact."""
    page = 'vllm:prompt_tokens_total{engine="0",model_name="m"} 9007199254740993\n'
    (batch,) = TokenBatches().batches([Timed(TS_MS, tokens("vllm", page))])
    decoded = decode(encode(batch), "token-samples/1", ARROW)
    assert [TokenSample(**row).model_dump(exclude_defaults=True) for row in decoded.to_pylist()] == [
        {
            "ts": datetime(2023, 11, 14, 22, 13, 20, 123000, UTC),
            "endpoint": "host-1:9400",
            "replica": "0",
            "model": "m",
            "deployment": "deployment-1",
            "prompt_tokens": 9007199254740993,
        }
    ]


def test_an_empty_tick_is_an_empty_batch() -> None:
    """A heartbeat has the same columns as any other message."""
    (batch,) = GpuBatches(Accounts()).batches([])
    assert len(decode(encode(batch), "gpu-samples/1", ARROW)) == 0
    (batch,) = TokenBatches().batches([])
    assert len(decode(encode(batch), "token-samples/1", ARROW)) == 0


def test_labels_are_encoded_once_and_again_when_an_account_is_known() -> None:
    """While nothing changes the label columns are the same memory; the account of a job comes in when it is known."""
    accounts = Accounts()
    batches = GpuBatches(accounts)
    reading = gpu("dcgm-exporter", PAGE)

    def column(name: str) -> pa.Array:
        return batches.batches([Timed(TS_MS, reading)])[0].column(name)

    first = column("device")
    assert column("device").indices.buffers()[1].address == first.indices.buffers()[1].address
    assert column("account").to_pylist() == ["", ""]
    accounts.update({"42": "rrg-acme", "7": "def-x"}, now_s=0)
    assert column("account").to_pylist() == ["rrg-acme", ""]


def test_a_device_is_never_cut_in_two() -> None:
    """All slices of a device go in one message, whatever the number of rows."""
    parts = GpuBatches(Accounts()).batches([Timed(TS_MS, _many(700, 7)), Timed(TS_MS, _many(300, 7))])
    assert sum(len(part) for part in parts) == 7000
    assert all(len(part) <= MAX_ROWS and len(part) % 7 == 0 for part in parts)
    assert len(parts) == 2
    devices = [set(part.column("device").to_pylist()) for part in parts]
    joined = pa.Table.from_batches([decode(encode(part), "gpu-samples/1", ARROW) for part in parts])
    assert len(joined) == 7000
    assert len(devices[0]) == MAX_ROWS // 7


def test_jobs_are_forgotten_after_a_day_or_two() -> None:
    """A job can stay on a GPU page after the batch system stopped listing it, but not for ever."""
    accounts = Accounts()
    accounts.update({"1": "a"}, now_s=0)
    version = accounts.version
    accounts.update({"1": "a"}, now_s=10)
    assert accounts.version == version
    accounts.update({"2": "b"}, now_s=REMEMBER_S + 1)
    assert (accounts.of("1"), accounts.of("2"), accounts.of("")) == ("a", "b", "")
    accounts.update({"3": "c"}, now_s=2 * REMEMBER_S + 2)
    assert (accounts.of("1"), accounts.of("2"), accounts.of("3")) == ("", "b", "c")
