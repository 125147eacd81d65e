"""Brings folders, data sources, dashboards and alert rules to a Grafana, and changes nothing that is right already.

`plan` reads and compares; `write` does what was shown. Between the two somebody may edit: Grafana is told the version
that was read, and refuses (412) when there is a newer one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compose.grafana import wanted
from compose.grafana.connection import Grafana, GrafanaRefuses, Json
from compose.grafana.difference import by_uid, paths
from dashboards.grafana.datasources import Place, variable
from dashboards.grafana.panels import DATASOURCE
from dashboards.grafana.sources import SOURCES, Source
from schemas.config_alerts import Alerts

_MESSAGE = "commonwatt dashboards push"
_FROM_FILE = "It was provisioned from a file: change that file, or remove it and run this again."


@dataclass(frozen=True, slots=True)
class Change:
    """One object, and what is to be done about it."""

    kind: str
    name: str
    paths: tuple[str, ...]
    """Where it differs; empty: it is not there, or (see `write`) right as it is."""
    write: Callable[[], object] | None
    """None: nothing is to be done."""

    @property
    def state(self) -> str:
        if self.write is None:
            return "unchanged"
        return "changed" if self.paths else "new"


@dataclass(frozen=True, slots=True)
class Options:
    """What is pushed, and how."""

    place: Place
    alerts: Alerts
    sources: tuple[Source, ...] = SOURCES
    """Data sources of the roles that are brought, with what uses them."""
    parent: str | None = None
    """Uid of the folder below which ours are made."""
    editable: bool = False
    """Alert rules can be edited in Grafana's own pages (`X-Disable-Provenance`). By default they are locked there:
    their thresholds have one source, and what somebody edits would be lost at the next push."""
    renew_passwords: bool = False
    """Write the passwords of data sources although nothing else differs: Grafana never tells them."""


def plan(grafana: Grafana, options: Options) -> list[Change]:
    """Everything that is pushed, in an order in which each finds what it needs. Raises GrafanaRefuses."""
    _check_plugin(grafana)
    return [
        *(_folder(grafana, folder, options) for folder in wanted.folders()),
        *(_datasource(grafana, *one, options) for one in wanted.datasources(options.place, options.sources)),
        *(_dashboard(grafana, *one) for one in wanted.dashboards(options.sources)),
        *(_group(grafana, group, options) for group in wanted.groups(options.alerts, options.sources)),
    ]


def write(changes: list[Change]) -> Iterator[Change]:
    """Do it; yields each change once it is made. Raises GrafanaRefuses; what was written by then stays."""
    for change in changes:
        if change.write is not None:
            change.write()
            yield change


def _check_plugin(grafana: Grafana) -> None:
    plugin = DATASOURCE["type"]
    if grafana.read(f"the plugin {plugin}", lambda api: api.client.GET(f"/plugins/{plugin}/settings")) is None:
        grafana.ask("read its state", lambda api: api.client.GET("/health"))  # who has not this page is no Grafana
        raise GrafanaRefuses(
            f"The plugin {plugin} is not installed on {grafana.url}: run `grafana cli plugins install {plugin}` there, "
            "and start Grafana again."
        )


def _folder(grafana: Grafana, folder: wanted.Folder, options: Options) -> Change:
    what = f"folder {folder.title}"
    known = grafana.read(f"the {what}", lambda api: api.folder.get_folder(folder.uid))

    def create() -> None:
        grafana.ask(f"make the {what}", lambda api: api.folder.create_folder(folder.title, folder.uid, options.parent))

    def update() -> None:
        assert known is not None
        version = known.get("version")
        if "title" in differ:
            grafana.ask(f"rename the {what}", lambda api: api.folder.update_folder(folder.uid, folder.title, version))
        if "parentUid" in differ:
            grafana.ask(f"move the {what}", lambda api: api.folder.move_folder(folder.uid, options.parent))

    if known is None:
        return Change("folder", folder.title, (), create)
    place = {"parentUid": options.parent} if options.parent else {}
    differ = tuple(paths({"title": folder.title} | place, known))
    return Change("folder", folder.title, differ, update if differ else None)


def _datasource(grafana: Grafana, source: Source, described: Json, options: Options) -> Change:
    what, secret = f"data source {source.name}", wanted.password(source)
    known = grafana.read(f"the {what}", lambda api: api.datasource.get_datasource_by_uid(source.uid))
    lacks = known is None or not known.get("secureJsonFields", {}).get("password") or options.renew_passwords
    if lacks and not secret:
        raise GrafanaRefuses(
            f"The {what} has no password: set {variable(source, 'PASSWORD')} to that of its ClickHouse user."
        )
    body = described | ({"secureJsonData": {"password": secret}} if lacks else {})

    def create() -> None:
        grafana.ask(f"make the {what}", lambda api: api.datasource.create_datasource(body))

    def update() -> None:
        assert known is not None
        # Grafana replaces the whole of jsonData: what somebody added there by hand stays.
        merged = known.get("jsonData", {}) | described["jsonData"]
        whole = body | {"jsonData": merged, "version": known.get("version")}
        grafana.ask(f"change the {what}", lambda api: api.datasource.update_datasource_by_uid(source.uid, whole))

    if known is None:
        return Change("data source", source.name, (), create)
    differ = (*paths(described, known), *(("password",) if lacks else ()))
    if differ and known.get("readOnly"):
        raise GrafanaRefuses(f"The {what} differs in {', '.join(differ)}. {_FROM_FILE}")
    return Change("data source", source.name, differ, update if differ else None)


def _dashboard(grafana: Grafana, folder: str, board: Json) -> Change:
    uid, title = str(board["uid"]), str(board["title"])
    what = f"dashboard {title} ({uid})"
    known = grafana.read(f"the {what}", lambda api: api.dashboard.get_dashboard(uid))
    version = known["dashboard"].get("version", 0) if known else 0

    def save() -> None:
        body = board | ({"version": version} if known else {})
        whole = {"dashboard": body, "folderUid": folder, "message": _MESSAGE, "overwrite": False}
        grafana.ask(f"write the {what}", lambda api: api.dashboard.update_dashboard(whole))

    if known is None:
        return Change("dashboard", uid, (), save)
    differ = list(paths(board, known["dashboard"]))
    if known.get("meta", {}).get("folderUid", folder) != folder:
        differ.append("folder")
    if differ and known.get("meta", {}).get("provisioned"):
        raise GrafanaRefuses(f"The {what} differs in {len(differ)} places. {_FROM_FILE}")
    return Change("dashboard", uid, tuple(differ), save if differ else None)


def _group(grafana: Grafana, group: Json, options: Options) -> Change:
    folder, title = str(group["folderUid"]), str(group["title"])
    what = f"alert rules {title}"
    known = grafana.read(f"the {what}", lambda api: api.alertingprovisioning.get_rule_group(folder, title))

    def save() -> None:
        grafana.ask(
            f"write the {what}",
            lambda api: api.alertingprovisioning.update_rule_group(
                folder, title, group, disable_provenance=options.editable
            ),
        )

    if known is None:
        return Change("alert rules", title, (), save)
    differ = tuple(_rules_differ(group, known))
    if differ and any(rule.get("provenance") == "file" for rule in known["rules"]):
        raise GrafanaRefuses(f"The {what} differ in {', '.join(differ)}. {_FROM_FILE}")
    return Change("alert rules", title, differ, save if differ else None)


def _rules_differ(group: Json, found: Json) -> Iterator[str]:
    """By uid, in whatever order. A rule too many is a difference, because the group is written as a whole."""
    yield from paths({"interval": group["interval"]}, found)
    ours, theirs = by_uid(group["rules"]), by_uid(found["rules"])
    for uid, rule in ours.items():
        if uid not in theirs:
            yield f"{uid} (new)"
        else:
            said = {name: value for name, value in rule.items() if name != "orgID"}  # that of the account, always
            yield from (f"{uid}.{path}" for path in paths(said, theirs[uid]))
    yield from (f"{uid} (gone)" for uid in theirs.keys() - ours.keys())
