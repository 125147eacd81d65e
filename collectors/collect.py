"""The collector: reads the targets of the configuration and sends their samples to Kafka until it is told to stop."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import batched

from collectors.accounts import Accounts
from collectors.batches import GpuBatches, TokenBatches
from collectors.publisher import Publisher
from collectors.readings import JobReading
from collectors.registry import KINDS
from collectors.scraper import Scraper
from collectors.shard import Batches, Shard, Ticks
from collectors.statistics import Statistics
from collectors.target import Target, make_target
from schemas.config import Cluster, Config
from schemas.topics import TELEMETRY_GPU, TELEMETRY_TOKENS, shard

logger = logging.getLogger(__name__)

TARGETS_PER_SHARD = 512  # nodes of eight devices: 4,096 rows, one full message
SUMMARY_S = 60.0
FLUSH_TIMEOUT_S = 15.0  # for Kafka to take what waits when the collector stops
