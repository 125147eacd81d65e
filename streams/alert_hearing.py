"""Who was heard when: clusters, collectors and exporters that fall silent, late data, clocks, devices in trouble. Pure.

The meters tell what they hear of each shard (topic `usage.heard`). Silence is measured by the clock of the worker that
read the messages; of what is repeated or comes out of order the newest counts.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from schemas.config import Config
from schemas.config_alerts import Alerts
from schemas.texts import Text
from schemas.topics import Defect
from schemas.usage import DeviceCondition, Heard, ShardHeard
from streams.alert_conditions import SHOWN, Condition, Stake, beyond, duration, number, patience_s, slowest_s

FORGOTTEN_S = 24 * 3600.0
"""A collector that was silent for so long is no longer expected."""
TARGET_FORGOTTEN_S = 1800.0
"""So is an exporter that was down when its collector last spoke of it: a collector repeats what is wrong every ten
minutes."""
OUTDATED_S = 900.0
"""Conditions of devices of a shard that was not heard for so long say nothing."""
STEP_S = 600.0
"""A step of a clock is a matter for so long."""
SLACK_MS = 30_000
"""Between what a meter can have seen and what it has told."""
RATHER = 2.5
"""Scrape intervals without a sample after which a cluster may be about to fall silent."""

_STEP = re.compile(r"by ([+-][0-9.]+) s")

CostOf = Callable[[str, float], Stake | None]
"""(cluster, devices) -> what they cost per hour."""


@dataclass(slots=True)
class _Shard:
    boot: str
    since_ms: int
    heard_ms: int
    sampled_ms: int = 0
    """When its last samples were heard."""
    delay_ms: int = 0
    """From the latest of them to then: negative when its clock is ahead."""
    conditions: list[DeviceCondition] = field(default_factory=list)
    carried: list[DeviceCondition] = field(default_factory=list)
    """Of them, what the meter before saw that the new one cannot have seen yet."""


@dataclass(slots=True)
class _Target:
    changed_ms: int
    down: bool
    detail: str
    told_ms: int
    """When its collector last spoke of it."""


@dataclass(slots=True)
class _Cluster:
    patience_ms: int
    rather_ms: int
    sampled_ms: int
    heard_ms: int
    shards: dict[str, _Shard] = field(default_factory=dict)
    targets: dict[str, _Target] = field(default_factory=dict)
    steps: dict[str, tuple[int, float, bool]] = field(default_factory=dict)
    """Collector -> when, seconds, whether it still holds."""
    devices: list[Condition] | None = None
    """Of all shards together; None: to be put together anew."""


class Hearing:
    """What was heard of every cluster, and the conditions that follow from it."""

    def __init__(self, config: Config, started_ms: int, cost_of: CostOf, cost_per_hour: Callable[[str], Stake | None]):
        self._settings = config.alerts
        self._cost_of = cost_of
        self._cost_per_hour = cost_per_hour
        self._started_ms = started_ms
        # Kinds of conditions that are measured since a meter began.
        self._duration_ms = {
            "idle": round(1000 * config.alerts.idle_for),
            "frozen": round(1000 * config.alerts.counter_frozen_for),
        }
        self._configured = {cluster.id: cluster for cluster in config.cluster}
        self._clusters: dict[str, _Cluster] = {}
        for cluster in config.cluster:
            if cluster.target:
                self._cluster(cluster.id)

    # ---- what was seen ---------------------------------------------------------------------------------------------

    def saw(self, heard: Heard) -> None:
        """What a meter heard of a cluster."""
        cluster = self._cluster(heard.cluster)
        for one in heard.shards:
            self._saw_shard(cluster, one)
            for defect in one.defects:
                self._saw_defect(cluster, one.shard, defect)

    def began(self, shard: str, boot: str, heard_ms: int, sampled_ms: int) -> None:
        """By the book a shard was last heard then, and its samples then (0: never)."""
        cluster = self._cluster(shard.partition("/")[0])
        cluster.shards.setdefault(shard, _Shard(boot, 0, heard_ms, sampled_ms))

    def told(self, cluster: str, defect: Defect, told_ms: int) -> None:
        """By the book a target of a cluster went down or up, and was last spoken of then."""
        known = self._cluster(cluster)
        self._saw_defect(known, "", defect)
        if defect.source in known.targets:
            known.targets[defect.source].told_ms = max(told_ms, defect.ts_ms)

    def was_silent(self, cluster: str) -> None:
        """A cluster was silent when this watch began, and is until something is heard of it."""
        self._cluster(cluster).sampled_ms = 0

    def collector_was_silent(self, collector: str) -> None:
        """The same of a collector, `cluster/collector`, or some of its shards."""
        cluster = self._cluster(collector.partition("/")[0])
        for name, shard in cluster.shards.items():
            if name.rpartition("/")[0] == collector:
                shard.heard_ms = self._started_ms - cluster.patience_ms - 1

    def waited(self, now_ms: int) -> None:
        """Nothing could be heard until now, for reasons of our own: silence is measured from here."""
        for cluster in self._clusters.values():
            cluster.sampled_ms = cluster.sampled_ms and max(cluster.sampled_ms, now_ms)
            for shard in cluster.shards.values():
                shard.heard_ms = max(shard.heard_ms, now_ms)

    def _saw_shard(self, cluster: _Cluster, one: ShardHeard) -> None:
        shard = cluster.shards.get(one.shard)
        if shard is None:
            shard = cluster.shards[one.shard] = _Shard(one.boot, one.since_ms, one.heard_ms)
        elif one.heard_ms < shard.heard_ms:
            return
        renewed = one.since_ms > shard.since_ms > 0
        shard.boot, shard.since_ms, shard.heard_ms = one.boot, one.since_ms, one.heard_ms
        cluster.heard_ms = max(cluster.heard_ms, one.heard_ms)
        if one.ts_ms is None:
            return
        shard.sampled_ms, shard.delay_ms = one.heard_ms, one.heard_ms - one.ts_ms
        cluster.sampled_ms = max(cluster.sampled_ms, one.heard_ms)
        if one.conditions is not None:
            if renewed:
                shard.carried = [condition for condition in shard.conditions if condition.kind in self._duration_ms]
            conditions = [*one.conditions, *self._carry(shard, one)] if shard.carried else one.conditions
            if conditions != shard.conditions:
                shard.conditions, cluster.devices = conditions, None

    def _carry(self, shard: _Shard, one: ShardHeard) -> list[DeviceCondition]:
        """What the meter before saw, as long as this one has seen too little to say otherwise."""
        known = {(condition.kind, condition.node, condition.agreement) for condition in one.conditions or ()}
        age_ms = one.heard_ms - one.since_ms - SLACK_MS
        shard.carried = [
            condition
            for condition in shard.carried
            if age_ms < self._duration_ms[condition.kind]
            and (condition.kind, condition.node, condition.agreement) not in known
        ]
        return shard.carried

    def _saw_defect(self, cluster: _Cluster, shard: str, defect: Defect) -> None:
        if defect.kind == "clock_step":
            collector = "/".join(shard.split("/")[:2])
            before = cluster.steps.get(collector)
            size = _STEP.search(defect.detail)
            if before is None or defect.ts_ms >= before[0]:
                step_s = abs(float(size[1])) if size else 0.0
                cluster.steps[collector] = (defect.ts_ms, step_s, defect.subject != "undone")
            return
        target = cluster.targets.get(defect.source)
        if defect.kind in ("target_down", "target_up"):
            if target is None or defect.ts_ms >= target.changed_ms:
                down = defect.kind == "target_down"
                told_ms = max(defect.ts_ms, target.told_ms if target else 0)
                cluster.targets[defect.source] = _Target(defect.ts_ms, down, defect.detail, told_ms)
        elif target is not None:
            target.told_ms = max(target.told_ms, defect.ts_ms)

    def _cluster(self, name: str) -> _Cluster:
        known = self._clusters.get(name)
        if known is None:
            configured = self._configured.get(name)
            known = self._clusters[name] = _Cluster(
                patience_ms=round(1000 * patience_s(self._settings, configured)),
                rather_ms=round(1000 * RATHER * max(slowest_s(configured), 10.0)),
                sampled_ms=self._started_ms,
                heard_ms=0,
            )
        return known

    # ---- what follows ----------------------------------------------------------------------------------------------

    def conditions(self, now_ms: int) -> Iterator[Condition]:
        """Everything that holds at this moment."""
        for name, cluster in self._clusters.items():
            self._forget(cluster, now_ms)
            if name in self._configured and self._configured[name].target:
                yield from self._silent_cluster(name, cluster, now_ms)
            yield from self._silent_collectors(name, cluster, now_ms)
            yield from self._silent_exporters(name, cluster, now_ms)
            yield from self._clocks(name, cluster, now_ms)
            yield from self._lag(name, cluster, now_ms)
            if cluster.devices is None:
                cluster.devices = list(self._devices(name, cluster))
            yield from cluster.devices

    def _forget(self, cluster: _Cluster, now_ms: int) -> None:
        for name, shard in list(cluster.shards.items()):
            if now_ms - shard.heard_ms > FORGOTTEN_S * 1000:
                del cluster.shards[name]
            if shard.conditions and now_ms - shard.sampled_ms > OUTDATED_S * 1000:
                shard.conditions, cluster.devices = [], None

    def _silent_cluster(self, name: str, cluster: _Cluster, now_ms: int) -> Iterator[Condition]:
        silent_ms = now_ms - cluster.sampled_ms
        if silent_ms > cluster.patience_ms:
            silent_s = silent_ms / 1000
            yield Condition(
                "cluster_silent", name, silent_s, cluster.patience_ms / 1000,
                lambda: Text(
                    f"nothing was metered of {name} for {duration(silent_s, 'en')}",
                    f"rien n’a été mesuré de {name} depuis {duration(silent_s, 'fr')}",
                ),
                cluster=name, at_stake=self._cost_per_hour(name), evidence=sorted(cluster.shards)[:SHOWN],
            )  # fmt: skip

    def _silent_collectors(self, name: str, cluster: _Cluster, now_ms: int) -> Iterator[Condition]:
        """Collectors, or shards of theirs, that say nothing while others of the cluster are heard."""
        if now_ms - cluster.heard_ms > cluster.patience_ms / 2:
            return  # the whole cluster may be silent
        silent: dict[str, list[str]] = {}
        boots: dict[str, set[str]] = {}
        for shard_name, shard in cluster.shards.items():
            collector = shard_name.rpartition("/")[0]
            if now_ms - shard.heard_ms > cluster.patience_ms:
                silent.setdefault(collector, []).append(shard_name)
            else:
                boots.setdefault(collector, set()).add(shard.boot)
        for collector, shards in silent.items():
            running = boots.get(collector)
            # A run of the collector that is heard and never sent this shard has fewer: it is missed by nobody.
            missed = [shard for shard in shards if running is None or cluster.shards[shard].boot in running]
            if missed:
                silent_s = (now_ms - min(cluster.shards[shard].heard_ms for shard in missed)) / 1000
                what = _what_is_silent(collector, missed, running is None, silent_s)
                yield Condition(
                    "collector_silent", collector, silent_s, cluster.patience_ms / 1000, what,
                    cluster=name, evidence=sorted(missed)[:SHOWN],
                )  # fmt: skip

    def _silent_exporters(self, name: str, cluster: _Cluster, now_ms: int) -> Iterator[Condition]:
        """Exporters that are down, one by one; but none while the whole cluster may be about to fall silent."""
        down = [(source, target) for source, target in cluster.targets.items() if target.down]
        if not down or now_ms - cluster.sampled_ms > cluster.rather_ms:
            return
        for source, target in down:
            if cluster.heard_ms - target.told_ms > TARGET_FORGOTTEN_S * 1000:
                del cluster.targets[source]
                continue
            yield Condition(
                "exporter_silent", f"{name}/{source}", (now_ms - target.changed_ms) / 1000, 0,
                _what_is_down(source, target.detail),
                cluster=name, evidence=[target.detail] if target.detail else [],
            )  # fmt: skip

    def _clocks(self, name: str, cluster: _Cluster, now_ms: int) -> Iterator[Condition]:
        limit = self._settings.clock_skew_above
        ahead: dict[str, float] = {}
        for shard_name, shard in cluster.shards.items():
            if shard.delay_ms < 0 and now_ms - shard.sampled_ms <= cluster.patience_ms:
                collector = shard_name.rpartition("/")[0]
                ahead[collector] = max(-shard.delay_ms / 1000, ahead.get(collector, 0.0))
        for collector, (ts_ms, step_s, holds) in list(cluster.steps.items()):
            if now_ms - ts_ms > STEP_S * 1000:
                del cluster.steps[collector]
            elif holds:
                ahead[collector] = max(step_s, ahead.get(collector, 0.0))
        for collector, seconds in ahead.items():
            fires = beyond("clock_skew", seconds, limit)
            if fires is not None:
                yield Condition(
                    "clock_skew", collector, seconds, limit, _what_is_ahead(collector, seconds), fires,
                    cluster=name, at_stake=self._cost_per_hour(name),
                )  # fmt: skip

    def _lag(self, name: str, cluster: _Cluster, now_ms: int) -> Iterator[Condition]:
        limit = self._settings.lag_above
        late = {
            shard_name: shard.delay_ms / 1000
            for shard_name, shard in cluster.shards.items()
            if shard.delay_ms > 0 and now_ms - shard.sampled_ms <= cluster.patience_ms
        }
        worst = max(late.values(), default=0.0)
        fires = beyond("lag", worst, limit)
        if fires is not None:
            evidence = [f"{shard}: {seconds:,.0f} s" for shard, seconds in late.items() if seconds > limit]
            yield Condition(
                "lag", name, worst, limit,
                lambda: Text(
                    f"usage of {name} arrives {duration(worst, 'en')} after it was measured",
                    f"l’usage de {name} arrive {duration(worst, 'fr')} après la mesure",
                ),
                fires, cluster=name, at_stake=self._cost_per_hour(name), evidence=sorted(evidence)[:SHOWN],
            )  # fmt: skip

    def _devices(self, name: str, cluster: _Cluster) -> Iterator[Condition]:
        """Conditions of devices, those of all shards about one agreement or node together."""
        grouped: dict[tuple[str, str, str], list[DeviceCondition]] = {}
        for shard in cluster.shards.values():
            for condition in shard.conditions:
                grouped.setdefault((condition.kind, condition.node, condition.agreement), []).append(condition)
        for (kind, node, agreement), several in grouped.items():
            rule, limit = _device_rule(kind, self._settings)
            worst = max(condition.value for condition in several)
            devices = sum(condition.devices for condition in several)
            fires = beyond(rule, worst, limit) if kind == "hot" else True
            if fires is None:
                continue
            subject = f"{name}/{agreement or node}"
            yield Condition(
                rule, subject, worst, limit, _what_devices_do(kind, devices, subject, worst, limit), fires,
                cluster=name, agreement=agreement,
                at_stake=self._cost_of(name, sum(condition.gpus for condition in several)),
                evidence=[text for condition in several for text in condition.evidence][:SHOWN],
            )  # fmt: skip


Words = Callable[[], Text]


def _what_is_silent(collector: str, shards: list[str], whole: bool, silent_s: float) -> Words:
    if whole:
        return lambda: Text(
            f"collector {collector} said nothing for {duration(silent_s, 'en')}, while others of the cluster are heard",
            f"le collecteur {collector} n’a rien dit depuis {duration(silent_s, 'fr')}, alors que d’autres de la "
            "grappe sont entendus",
        )
    count = len(shards)
    return lambda: Text(
        f"collector {collector} is heard, but {count} of its shards said nothing for {duration(silent_s, 'en')}",
        f"le collecteur {collector} est entendu, mais {count} de ses segments n’ont rien dit depuis "
        f"{duration(silent_s, 'fr')}",
    )


def _what_is_down(source: str, detail: str) -> Words:
    because = f": {detail}" if detail else ""
    return lambda: Text(
        f"{source} does not answer its collector{because}",
        f"{source} ne répond pas à son collecteur{because and ' ' + because}",
    )


def _what_is_ahead(collector: str, seconds: float) -> Words:
    return lambda: Text(
        f"the clock of collector {collector} is, or was set, {number(seconds, 'en', 1)} s off",
        f"l’horloge du collecteur {collector} est décalée, ou a été réglée, de {number(seconds, 'fr', 1)} s",
    )


def _device_rule(kind: str, settings: Alerts) -> tuple[str, float]:
    """Rule and threshold of a kind of condition."""
    match kind:
        case "idle":
            return "allocated_idle", settings.idle_for
        case "frozen":
            return "counter_frozen", settings.counter_frozen_for
        case "xid":
            return "xid", 0.0
    return "over_temperature", float(settings.hot_above_c)


def _what_devices_do(kind: str, devices: int, subject: str, worst: float, limit: float) -> Words:
    one = devices == 1
    en = "1 device" if one else f"{number(devices, 'en')} devices"
    fr = f"{number(devices, 'fr')} appareil" + ("" if one else "s")
    are, their = ("is", "its") if one else ("are", "their")
    match kind:
        case "idle":
            return lambda: Text(
                f"{en} of {subject} {are} held but idle, the longest for {duration(worst, 'en')}",
                f"{fr} de {subject} {'est réservé' if one else 'sont réservés'} sans rien faire, "
                f"depuis {duration(worst, 'fr')} au plus",
            )
        case "frozen":
            return lambda: Text(
                f"{en} on {subject} {'draws' if one else 'draw'} power with {their} energy "
                f"{'counter' if one else 'counters'} frozen, the longest for {duration(worst, 'en')}",
                f"{fr} sur {subject} {'consomme' if one else 'consomment'} alors que "
                f"{'son compteur' if one else 'leur compteur'} d’énergie est figé, "
                f"depuis {duration(worst, 'fr')} au plus",
            )
        case "xid":
            return lambda: Text(
                f"{en} on {subject} {'reports' if one else 'report'} XID {worst:.0f}",
                f"{fr} sur {subject} {'signale' if one else 'signalent'} XID {worst:.0f}",
            )
    return lambda: Text(
        f"{en} on {subject} {are} above {limit:g} °C, the hottest at {worst:.0f} °C",
        f"{fr} sur {subject} {'est' if one else 'sont'} au-dessus de {limit:g} °C, le plus chaud à {worst:.0f} °C",
    )
