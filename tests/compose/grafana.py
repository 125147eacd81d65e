"""A Grafana of the tests' own: the part of its HTTP API that Commonwatt uses, on a thread of this process.

It keeps folders, data sources, dashboards with versions and alert rules, answers as Grafana does when something is
wrong, drops fields that it does not know as Grafana does, and runs queries as the plugin does: macros expanded, on the
real engine, as the data source's user, answered in Grafana's data-frame JSON. Source: Grafana's HTTP API reference.
"""

import asyncio
import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dashboards.macros import Window, expand
from tests.compose.http import ask

Json = dict[str, Any]
TOKEN, PLUGIN = "glsa_valid", "grafana-clickhouse-datasource"
_BASIC = "Basic " + base64.b64encode(b"admin:secret").decode()
_RULE_FIELDS = {
    "uid", "orgID", "folderUID", "ruleGroup", "title", "condition", "data", "noDataState", "execErrState", "for",
    "keep_firing_for", "missingSeriesEvalsToResolve", "annotations", "labels", "isPaused", "notification_settings",
}  # fmt: skip
_NUMBER = re.compile(r"(Nullable\()?(U?Int|Float|Decimal|Bool)")
_TIME = re.compile(r"(Nullable\()?Date")


@dataclass
class FakeGrafana:
    """Its state; tests look into it, and edit it as a person would."""

    clickhouse: str
    """URL of the engine behind every data source."""
    users: dict[str, str] = field(default_factory=dict)
    """User of a data source -> user of the engine; others do not exist."""
    prefix: str = ""
    plugin: bool = True
    folders: dict[str, Json] = field(default_factory=dict)
    datasources: dict[str, Json] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    dashboards: dict[str, Json] = field(default_factory=dict)
    groups: dict[tuple[str, str], Json] = field(default_factory=dict)
    broken: dict[str, tuple[int, Json | str]] = field(default_factory=dict)
    """`METHOD /path` (its beginning) -> what is answered instead."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def written(self) -> list[str]:
        """Requests since the last call that were to change something."""
        found = [f"{method} {path}" for method, path in self.asked if method != "GET" and path != "/ds/query"]
        self.asked.clear()
        return found

    def edit(self, uid: str, change: Callable[[Json], None]) -> None:
        """A person saves a dashboard."""
        board = json.loads(json.dumps(self.dashboards[uid]["dashboard"]))
        change(board)
        board["version"] += 1
        self.dashboards[uid]["dashboard"] = board

    # ---- the API ----

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=64 << 20)
        for method, path, handler in (
            ("GET", "/health", self._health),
            ("GET", "/plugins/{uid}/settings", self._plugin),
            ("GET", "/folders/{uid}", self._get_folder),
            ("POST", "/folders", self._post_folder),
            ("PUT", "/folders/{uid}", self._put_folder),
            ("POST", "/folders/{uid}/move", self._move_folder),
            ("GET", "/datasources/uid/{uid}", self._get_datasource),
            ("POST", "/datasources", self._post_datasource),
            ("PUT", "/datasources/uid/{uid}", self._put_datasource),
            ("GET", "/datasources/uid/{uid}/health", self._test_datasource),
            ("GET", "/dashboards/uid/{uid}", self._get_dashboard),
            ("POST", "/dashboards/db", self._post_dashboard),
            ("GET", "/v1/provisioning/folder/{folder}/rule-groups/{name}", self._get_group),
            ("PUT", "/v1/provisioning/folder/{folder}/rule-groups/{name}", self._put_group),
            ("POST", "/ds/query", self._query),
        ):
            app.router.add_route(method, f"{self.prefix}/api{path}", handler)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        path = request.path.removeprefix(f"{self.prefix}/api")
        self.asked.append((request.method, path))
        for begin, (status, body) in self.broken.items():
            if f"{request.method} {path}".startswith(begin):
                return web.Response(text=body, status=status) if isinstance(body, str) else _json(body, status)
        said = request.headers.get("Authorization", "")
        if said not in (f"Bearer {TOKEN}", _BASIC):
            return _json({"message": "Invalid API key" if said.startswith("Bearer") else "Unauthorized"}, 401)
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPNotFound:
            return _json({"message": "Not found"}, 404)
        return answer

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"database": "ok", "version": "13.2.3"})

    async def _plugin(self, request: web.Request) -> web.Response:
        if not self.plugin or request.match_info["uid"] != PLUGIN:
            return _json({"message": "Plugin not found, no installed plugin with that id"}, 404)
        return _json({"id": PLUGIN, "enabled": True, "info": {"version": "4.23.5"}})

    async def _get_folder(self, request: web.Request) -> web.Response:
        found = self.folders.get(request.match_info["uid"])
        return _json(found) if found else _json({"message": "folder not found", "status": "not-found"}, 404)

    async def _post_folder(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.folders[body["uid"]] = {**body, "id": len(self.folders) + 1, "version": 1}
        return _json(self.folders[body["uid"]])

    async def _put_folder(self, request: web.Request) -> web.Response:
        body, found = await request.json(), self.folders[request.match_info["uid"]]
        if body.get("version") != found["version"] and not body.get("overwrite"):
            return _json({"message": "the folder has been changed by someone else", "status": "version-mismatch"}, 412)
        found |= {"title": body["title"], "version": found["version"] + 1}
        return _json(found)

    async def _move_folder(self, request: web.Request) -> web.Response:
        self.folders[request.match_info["uid"]]["parentUid"] = (await request.json())["parentUid"]
        return _json(self.folders[request.match_info["uid"]])

    async def _get_datasource(self, request: web.Request) -> web.Response:
        found = self.datasources.get(request.match_info["uid"])
        return _json(found) if found else _json({"message": "Data source not found"}, 404)

    async def _post_datasource(self, request: web.Request) -> web.Response:
        body = await request.json()
        if any(one["name"] == body["name"] for one in self.datasources.values()):
            return _json({"message": "data source with the same name already exists"}, 409)
        self._keep_datasource(body, 1)
        return _json({"message": "Datasource added"})

    async def _put_datasource(self, request: web.Request) -> web.Response:
        body, found = await request.json(), self.datasources[request.match_info["uid"]]
        if body.get("version") not in (None, found["version"]):
            text = "Datasource has already been updated by someone else. Please reload and try again"
            return _json({"message": text}, 409)
        self._keep_datasource(body, found["version"] + 1)
        return _json({"message": "Datasource updated"})

    def _keep_datasource(self, body: Json, version: int) -> None:
        secrets = body.pop("secureJsonData", {})
        if "password" in secrets:
            self.passwords[body["uid"]] = secrets["password"]
        self.datasources[body["uid"]] = body | {
            "id": 7, "orgId": 1, "version": version, "readOnly": False, "url": "", "user": "",
            "secureJsonFields": {"password": True} if body["uid"] in self.passwords else {},
        }  # fmt: skip

    async def _test_datasource(self, request: web.Request) -> web.Response:
        found = self.datasources.get(request.match_info["uid"])
        if found is None:
            return _json({"message": "Data source not found"}, 404)
        if found["jsonData"]["username"] not in self.users:
            return _json({"message": "[516] Authentication failed: password is incorrect", "status": "ERROR"}, 400)
        return _json({"message": "Data source is working", "status": "OK"})

    async def _get_dashboard(self, request: web.Request) -> web.Response:
        found = self.dashboards.get(request.match_info["uid"])
        return _json(found) if found else _json({"message": "Dashboard not found"}, 404)

    async def _post_dashboard(self, request: web.Request) -> web.Response:
        body = await request.json()
        board, found = body["dashboard"], self.dashboards.get(body["dashboard"]["uid"])
        version = found["dashboard"]["version"] if found else 0
        if found and not body.get("overwrite") and board.get("version") != version:
            return _json(
                {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}, 412
            )
        if body["folderUid"] not in self.folders:
            return _json({"message": "folder not found"}, 400)
        kept = board | {"id": 100 + len(self.dashboards), "version": version + 1}
        self.dashboards[board["uid"]] = {
            "dashboard": kept,
            "meta": {"folderUid": body["folderUid"], "provisioned": False, "slug": board["uid"]},
        }
        return _json({"uid": board["uid"], "version": version + 1, "status": "success"})

    async def _get_group(self, request: web.Request) -> web.Response:
        found = self.groups.get((request.match_info["folder"], request.match_info["name"]))
        return _json(found) if found else _json({"message": "rule group not found"}, 404)

    async def _put_group(self, request: web.Request) -> web.Response:
        body = await request.json()
        provenance = "" if request.headers.get("X-Disable-Provenance") else "api"
        rules = []
        for number, rule in enumerate(body["rules"]):
            kept = {name: value for name, value in rule.items() if name in _RULE_FIELDS}
            for name in ("for", "keep_firing_for"):
                if name in kept:
                    kept[name] = _go_duration(kept[name])
            rules.append(kept | {"id": number, "provenance": provenance, "updated": "2026-11-28T09:00:00Z"})
        self.groups[request.match_info["folder"], request.match_info["name"]] = body | {"rules": rules}
        return _json(body, 200)

    # ---- queries ----

    async def _query(self, request: web.Request) -> web.Response:
        body = await request.json()
        answers: dict[str, Json] = {}
        for one in body["queries"]:
            try:
                if one["datasource"]["uid"] == "__expr__":
                    answers[one["refId"]] = _compared(answers[one["expression"]])
                else:
                    run = asyncio.to_thread(self._run, one, int(body["from"]), int(body["to"]))
                    answers[one["refId"]] = {"status": 200, "frames": [await run]}
            except (ValueError, LookupError) as error:
                answers[one["refId"]] = {"status": 400, "error": str(error), "frames": []}
        return _json({"results": answers}, 400 if any("error" in one for one in answers.values()) else 200)

    def _run(self, one: Json, from_ms: int, to_ms: int) -> Json:
        if type(one["format"]) is not int:
            raise ValueError("json: cannot unmarshal string into Go struct field of type uint32")
        if re.search(r"\$__conditionalAll|\$\{|\$[a-z]", one["rawSql"]):
            raise ValueError("a variable came through that only Grafana's pages replace")
        source = self.datasources[one["datasource"]["uid"]]
        answer = ask(
            self.clickhouse,
            expand(one["rawSql"], Window(from_ms, to_ms, one["intervalMs"])),
            headers={"X-ClickHouse-User": self.users[source["jsonData"]["username"]]},
            database="commonwatt",
            default_format="JSONCompact",
        )
        if answer.status != 200:
            raise ValueError(answer.text)
        found = json.loads(answer.text)
        fields = [{"name": column["name"], "type": _kind(column["type"])} for column in found["meta"]]
        columns = [list(column) for column in zip(*found["data"], strict=True)] or [[] for _ in fields]
        if one["format"] == 0:
            times = [column for column, its in zip(columns, fields, strict=True) if its["type"] == "time"][:1]
            if fields and not times:
                raise ValueError("no time column in a time series")
            if times and times[0] != sorted(times[0]):
                raise ValueError("long series must be sorted ascending by time to be converted")
        return {"schema": {"refId": one["refId"], "fields": fields}, "data": {"values": columns}}


def _compared(answer: Json) -> Json:
    """A threshold over a table: one number per row, whose text columns tell the rows apart."""
    if "error" in answer:
        raise ValueError("failed to execute conditions: no data of A")
    (frame,) = answer["frames"]
    kinds = [its["type"] for its in frame["schema"]["fields"]]
    if kinds.count("number") != 1 or "time" in kinds:
        raise ValueError("input data must be a wide series but got type long")
    labels = list(zip(*(c for c, k in zip(frame["data"]["values"], kinds, strict=True) if k != "number"), strict=True))
    if len(set(labels)) != len(labels):
        raise ValueError("duplicate results with labels")
    return {"status": 200, "frames": []}


def _kind(column: str) -> str:
    bare = column.removeprefix("LowCardinality(")
    return "number" if _NUMBER.match(bare) else "time" if _TIME.match(bare) else "string"


def _go_duration(text: str) -> str:
    """`120s` as Grafana writes it: 2m."""
    seconds = int(text.removesuffix("s"))
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _json(body: Json, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


@contextmanager
def serving(fake: FakeGrafana) -> Iterator[FakeGrafana]:
    """Serve it on 127.0.0.1 for a block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> web.AppRunner:
        runner = web.AppRunner(fake.app(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner

    runner = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}{fake.prefix}"
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
