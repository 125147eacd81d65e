"""The configuration file: one TOML, these models. See README for a worked example.

The models hold what one table can say on its own; what ties tables together is in :mod:`schemas.config_rules`.
"""

from datetime import date, time
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.config_alerts import Alerts, Notify
from schemas.config_section import MistakeAt, Section
from schemas.config_values import (
    Amount,
    Country,
    Currency,
    EnvName,
    HttpUrl,
    Id,
    KafkaUrl,
    Names,
    Number,
    Positive,
    Seconds,
    ServerUrl,
    Share,
    TimeOfDay,
    Timezone,
)

UNATTRIBUTED_CURRENCY = "CAD"
"""Currency of what no agreement pays for. Programmes have this one too unless they say otherwise."""


_PUE_BELOW_1 = "pue is less than 1, but a facility draws at least what its machines draw; write 1 or more"


class Kafka(Section):
    url: KafkaUrl
    replication_factor: int = Field(default=1, ge=1, le=9)
    """Of topics that do not exist yet: 3 where a broker may fail."""


class ClickHouse(Section):
    url: ServerUrl
    user: str = "default"
    """Its password comes from the environment: COMMONWATT_CLICKHOUSE_PASSWORD."""
    database: Literal["commonwatt"] = "commonwatt"


TargetKind = Literal["dcgm-exporter", "amd-device-metrics-exporter", "vllm", "litellm", "slurm-job-exporter"]


class Target(Section):
    kind: TargetKind
    urls: list[HttpUrl] = Field(min_length=1)
    interval: Seconds = 10.0
    timeout: Seconds | None = None
    """Default: four fifths of the interval, at most 10 s."""
    deployment: str = ""

    @model_validator(mode="after")
    def _timing(self) -> "Target":
        if self.timeout is not None and self.timeout > self.interval:
            raise MistakeAt("timeout", "timeout is longer than interval; write a shorter timeout, or leave it out")
        return self


class Cluster(Section):
    id: Id
    name: str = ""
    operator: str = ""
    country: Country
    region: str = ""
    operator_country: Country | None = None
    """Home of who runs it. Default: the country where it stands."""
    timezone: Timezone = "UTC"
    """In which tariffs by time of day are written, such as "America/Vancouver"."""
    pue: Number | None = None
    """Facility energy / GPU energy. Default: not known; prices then count the energy of the GPUs alone."""
    max_gap: Seconds | None = None
    """Longest silence of a device still metered without a bridge. Default 90 s, at least three scrape intervals."""
    power_cap_kw: Annotated[Number, Positive] | None = None
    """What the facility may draw for this cluster, kW: energy of the GPUs x pue. Default: no cap."""
    target: list[Target] = []

    @model_validator(mode="after")
    def _measures(self) -> "Cluster":
        if self.pue is not None and self.pue < 1:
            raise MistakeAt("pue", _PUE_BELOW_1)
        if self.max_gap is not None and any(target.interval > self.max_gap for target in self.target):
            raise MistakeAt(
                "max_gap", "max_gap is shorter than a scrape interval; write three intervals or more, or leave it out"
            )
        return self

    @property
    def pue_or_1(self) -> Fraction:
        """For prices, which cannot wait until somebody knows it."""
        return Fraction(1) if self.pue is None else self.pue

    @property
    def max_gap_s(self) -> float:
        """Longest silence still metered without a bridge, s."""
        return self.max_gap or max(90.0, *(3 * target.interval for target in self.target), 0.0)


class Match(Section):
    """Shell-style patterns; every one that is given must match."""

    namespace: str | None = None
    pod: str | None = None
    account: str | None = None
    job: str | None = None
    team: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Match":
        given = self.model_dump(exclude_none=True)
        if not given:
            raise ValueError('is empty; write at least one pattern, such as { namespace = "acme-*" }')
        if "team" in given and len(given) > 1:
            raise ValueError(
                "a gateway knows the team and a device does not, so team never matches together with others; "
                'write it in an entry of its own: { team = "acme" }'
            )
        return self


class Deployment(Section):
    id: Id
    cluster: str
    model: str
    match: Match
    agreement: str = ""
    shared: bool = False
    """Divided among agreements by their tokens of the same minute."""
    tokens_from: Literal["engine", "gateway"] | None = None
    """The layer whose tokens count. Default: engine, or gateway when shared (an engine does not know tenants)."""

    @model_validator(mode="after")
    def _one_payer(self) -> "Deployment":
        if self.shared and self.agreement:
            raise MistakeAt(
                "shared",
                "the deployment is shared and also belongs to an agreement; write either shared = true or agreement",
            )
        if self.shared and self.tokens_from == "engine":
            raise MistakeAt(
                "tokens_from",
                "an engine does not know whose tokens it serves, so it cannot divide a shared deployment; "
                'write tokens_from = "gateway", or leave it out',
            )
        if self.match.team is not None:
            raise MistakeAt("match", "a device does not know teams; write namespace, pod, account or job in match")
        return self

    @property
    def counted_layer(self) -> Literal["engine", "gateway"]:
        """The layer whose tokens count."""
        return self.tokens_from or ("gateway" if self.shared else "engine")


class Tariff(Section):
    """What electricity costs at certain hours of the cluster's local time. The first that fits holds."""

    id: Id
    starts: TimeOfDay
    ends: TimeOfDay
    """Exclusive; the same as or before `starts`: on the next day."""
    days: Literal["all", "weekdays", "weekends"] = "all"
    """Of the local day on which the moment lies."""
    months: list[Annotated[int, Field(ge=1, le=12)]] = []
    """Default: all."""
    energy_per_kwh: Amount

    def holds_at(self, weekday: int, month: int, clock: time) -> bool:
        """Whether it fits a local moment; weekday 0 = Monday."""
        if self.months and month not in self.months:
            return False
        if self.days != "all" and (weekday >= 5) != (self.days == "weekends"):
            return False
        if self.starts < self.ends:
            return self.starts <= clock < self.ends
        return clock >= self.starts or clock < self.ends


class Price(Section):
    id: Id
    cluster: str
    gpu_model: str = "*"
    """Shell-style pattern of product names; the most specific one holds (see :mod:`schemas.prices`)."""
    basis: Literal["owned", "rented"]
    currency: Currency = "CAD"
    capex: Amount | None = None
    lifetime_years: Annotated[Number, Positive] | None = None
    residual_value: Amount | None = None
    """What the GPU is still worth at the end of its life; only the difference is written off."""
    opex_per_gpu_hour: Amount = Fraction(0)
    energy_per_kwh: Amount = Fraction(0)
    """Electricity at hours for which no `tariff` fits."""
    tariff: list[Tariff] = []
    pue: Number | None = None
    """Default: the cluster's."""
    per_gpu_hour: Amount | None = None
    effective_from: date
    effective_to: date | None = None
    """Exclusive. Default: until the next price of the same cluster and model takes effect."""

    @model_validator(mode="after")
    def _fields_of_basis(self) -> "Price":
        owned = (
            "capex", "lifetime_years", "residual_value", "opex_per_gpu_hour", "energy_per_kwh", "tariff", "pue",
        )  # fmt: skip
        needed, foreign = (owned[:2], ("per_gpu_hour",)) if self.basis == "owned" else (("per_gpu_hour",), owned)
        absent = " and ".join(name for name in needed if getattr(self, name) is None)
        astray = [name for name in foreign if getattr(self, name)]
        remedies = [f"add {absent}"] * bool(absent) + [f"take out {' and '.join(astray)}"] * bool(astray)
        if remedies:
            raise MistakeAt(
                astray[0] if astray else "basis",
                f'basis = "{self.basis}" is priced by {" and ".join(needed)}; {" and ".join(remedies)}',
            )
        if self.residual_value is not None and self.capex is not None and self.residual_value > self.capex:
            raise MistakeAt("residual_value", "residual_value is more than capex; write less, or correct capex")
        if self.pue is not None and self.pue < 1:
            raise MistakeAt("pue", _PUE_BELOW_1)
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise MistakeAt(
                "effective_to",
                f"effective_to {self.effective_to} is not after effective_from {self.effective_from}; "
                "it is the first day on which the price no longer holds, write a later one",
            )
        return self


class FxRate(Section):
    """`rate` units of `quote` for one unit of `base`, from that date on."""

    base: Currency
    quote: Currency
    rate: Annotated[Amount, Positive]
    effective_from: date

    @model_validator(mode="after")
    def _two_currencies(self) -> "FxRate":
        if self.base == self.quote:
            raise MistakeAt(
                "quote", f"base and quote are both {self.base}; a currency needs no rate to itself, take this out"
            )
        return self


class _Term(Section):
    starts: date
    ends: date
    """Last day, inclusive."""

    @model_validator(mode="after")
    def _in_order(self) -> "_Term":
        if self.ends < self.starts:
            raise MistakeAt(
                "ends", f"ends {self.ends} is before starts {self.starts}; exchange them, or correct the years"
            )
        return self


class Programme(_Term):
    id: Id
    name: Names = {}
    """By language. One text in the file stands for both."""
    budget: Amount
    currency: Currency = "CAD"
    stacking_limit: Share | None = None
    """Most that all programmes together may pay of a cost that this one supports. Default: all of it."""


class CostShare(Section):
    """The programme pays a share of the cost, another one (or none) outside the agreement's country."""

    kind: Literal["cost_share"]
    share: Share
    elsewhere: Share = Fraction(0)
    elsewhere_until: date | None = None
    """Last day, inclusive, on which `elsewhere` is paid."""
    of: Literal["cost", "remainder"] = "cost"
    """For an agreement that comes `after` another: share of the whole cost, or of what the others left."""

    @model_validator(mode="after")
    def _until_when(self) -> "CostShare":
        if self.elsewhere_until is not None and self.elsewhere == 0:
            raise MistakeAt(
                "elsewhere_until", 'elsewhere_until has nothing to end; add elsewhere = "1/2", or take it out'
            )
        return self


class TokenPrice(Section):
    """The recipient pays at most so much per 1M tokens, the programme the rest of the cost.

    Either one price for all tokens, or one each for input, cached input and output.
    """

    kind: Literal["token_price"]
    per_mtok: Amount | None = None
    prompt_per_mtok: Amount | None = None
    """Of prompt tokens that were not cached."""
    cached_per_mtok: Amount | None = None
    """Of prompt tokens served from cache. Default: as other prompt tokens."""
    output_per_mtok: Amount | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "TokenPrice":
        parts = (self.prompt_per_mtok, self.output_per_mtok)
        whole = self.per_mtok is not None
        apart = any(part is not None for part in (*parts, self.cached_per_mtok))
        if whole == apart or (apart and None in parts):
            raise MistakeAt(
                "per_mtok" if whole else "kind",
                "tokens are charged by one price or by kind; write either per_mtok, or prompt_per_mtok and "
                "output_per_mtok (and cached_per_mtok, if it differs)",
            )
        return self

    @property
    def prices(self) -> tuple[Fraction, Fraction, Fraction]:
        """Per 1M tokens: prompt that was not cached, prompt from cache, output."""
        if self.per_mtok is not None:
            return (self.per_mtok,) * 3
        assert self.prompt_per_mtok is not None
        assert self.output_per_mtok is not None
        cached = self.prompt_per_mtok if self.cached_per_mtok is None else self.cached_per_mtok
        return self.prompt_per_mtok, cached, self.output_per_mtok


class Credits(Section):
    """The programme pays everything until the credits are used up."""

    kind: Literal["credits"]
    unit: Literal["amount", "gpu_hours", "rgu_hours"] = "amount"
    quantity: Annotated[Number, Positive] | None = None
    """GPU-hours or RGU-hours granted; for `amount` the agreement's cap is the grant."""
    used_before: Number = Fraction(0)
    """Of that, used before Commonwatt began to meter."""

    @model_validator(mode="after")
    def _grant(self) -> "Credits":
        if self.unit != "amount" and self.quantity is None:
            raise MistakeAt("unit", f"credits in {self.unit} need how many; add quantity = 50000")
        if self.unit == "amount" and self.quantity is not None:
            raise MistakeAt(
                "quantity", "credits of an amount are granted by the agreement's cap; write cap instead of quantity"
            )
        if self.unit == "amount" and self.used_before:
            raise MistakeAt(
                "used_before", "what was spent of an amount before is spent_before of the agreement; write it there"
            )
        return self


Rule = Annotated[CostShare | TokenPrice | Credits, Field(discriminator="kind")]


class PlanPoint(Section):
    """By the end of that day this much is meant to be spent. Between two points the plan is a straight line."""

    on: date
    spent: Amount


class Agreement(_Term):
    id: Id
    programme: str
    recipient: str
    country: Country = "CA"
    rule: Rule
    cap: Amount | None = None
    spent_before: Amount = Fraction(0)
    """Subsidy already spent under this agreement before Commonwatt began to meter it."""
    match: list[Match] = []
    after: str = ""
    """Agreement of the same recipient that pays first; this one supports what the recipient still has to pay for the
    same usage, and has no `match` of its own."""
    plan: list[PlanPoint] = []
    """Default: a straight line from nothing spent at the start to the cap at the end."""

    @model_validator(mode="after")
    def _limit(self) -> "Agreement":
        if isinstance(self.rule, Credits) and self.rule.unit == "amount" and self.cap is None:
            raise MistakeAt("rule", 'credits of an amount need the amount; add cap = "250000"')
        if self.after and self.match:
            raise MistakeAt(
                "match", f'the usage is that of agreement "{self.after}", which pays first; take match out, or after'
            )
        if self.after and isinstance(self.rule, Credits) and self.rule.unit != "amount":
            raise MistakeAt(
                "rule", "credits of hours count the usage itself, so such an agreement pays first; take after out"
            )
        days = [point.on for point in self.plan]
        amounts = [point.spent for point in self.plan]
        if days != sorted(set(days)) or amounts != sorted(amounts):
            raise MistakeAt("plan", "a plan goes forward; write its points by day, each with no less than the last")
        if self.plan and not (self.starts <= days[0] and days[-1] <= self.ends):
            raise MistakeAt("plan", f"a plan lies within the agreement; write days from {self.starts} to {self.ends}")
        return self


class Rgu(Section):
    """Reference GPU units: how many one device, or one slice of it, counts as. The most specific pattern holds."""

    gpu_model: str
    slice: str = ""
    """Profile of the slice, such as "3g.40gb"; empty = whole device, and slices that are not listed by their share."""
    share: Annotated[Share, Positive] = Fraction(1)
    """Compute share of the device that the slice is."""
    weight: Annotated[Number, Positive]
    effective_from: date

    @model_validator(mode="after")
    def _share_of_slice(self) -> "Rgu":
        if bool(self.slice) == (self.share == 1):
            raise MistakeAt(
                "share", 'a slice has a share of its device and a whole device has none; write share = "3/7" with slice'
            )
        return self


class Carbon(Section):
    """Emissions of a region's electricity."""

    region: str
    g_per_kwh: Number
    """g CO2e per kWh."""
    vintage: str
    """Year or edition of the figure."""
    source: str = ""
    effective_from: date


class Pool(Section):
    """Countries that lend each other compute."""

    id: Id
    currencies: dict[Country, Currency] = Field(min_length=2)
    """Country -> the currency in which it counts."""
    allies: list[Country] = []
    """Further countries whose operators count as allied."""


class Finance(Section):
    """When figures stop changing by themselves."""

    hour_final_after: Seconds = 6 * 3600.0
    """An hour is provisional for this long after its end."""
    month_closes_after: Seconds = 5 * 86400.0
    """After its end. Later corrections are adjustments in the month that is open then."""


class Reader(Section):
    """Somebody who may read the book: a user of a ClickHouse server, made by `commonwatt access apply`."""

    id: Id
    """Name of the user."""
    role: Literal["finance", "operations", "analysts"]
    password_env: EnvName
    """Environment variable that holds the password."""
    clusters: list[str] = []
    """Sees rows about these only. Default: all."""
    programmes: list[str] = []
    """The same; with both, rows about both."""


class Config(Section):
    kafka: Kafka | None = None
    clickhouse: ClickHouse | None = None
    notify: Notify = Notify()
    alerts: Alerts = Alerts()
    finance: Finance = Finance()
    cluster: list[Cluster] = Field(default=[], min_length=1)
    deployment: list[Deployment] = []
    price: list[Price] = []
    fx_rate: list[FxRate] = []
    programme: list[Programme] = []
    agreement: list[Agreement] = []
    rgu: list[Rgu] = []
    carbon: list[Carbon] = []
    pool: list[Pool] = []
    reader: list[Reader] = []
