"""Ways from one dashboard to another: they stay in their language, and carry the time range and the variables."""

from dashboards.boards import BY_UID, DASHBOARDS
from dashboards.model import Dashboard, Panel, RowLink
from schemas.texts import LANGS, Lang, Text

Json = dict[str, object]

TAG = "commonwatt"
_EXPLAIN = Text("Explain", "Explique")
_NAMES: dict[Lang, str] = {"en": "English", "fr": "Français"}


def grafana_uid(board: Dashboard, lang: Lang) -> str:
    """The dashboard's own uid in English, with the language behind it otherwise."""
    return board.uid + _behind(lang)


def _behind(lang: Lang) -> str:
    return "" if lang == "en" else f"-{lang}"


def tag_of(lang: Lang) -> str:
    """Tag that the dashboards of one language share."""
    return f"{TAG}-{lang}"


def panel_links(panel: Panel, lang: Lang) -> list[Json]:
    """From a panel to the dashboard that explains it, with everything that is chosen."""
    if panel.link is None:
        return []
    url = f"/d/{grafana_uid(BY_UID[panel.link], lang)}?${{__url_time_range}}&${{__all_variables}}"
    return [{"targetBlank": False, "title": _EXPLAIN.of(lang), "url": url}]


def row_link(link: RowLink, board: Dashboard, lang: Lang, title: str) -> Json:
    """From a table row: the row's own values, its own range where it has one, and the other choices of `board`.

    What both dashboards offer goes along as it is chosen; where rows lead to different ones, Grafana passes over what
    one of them does not offer. A value of the row that is empty becomes an empty variable, which means All to queries;
    Grafana cannot leave out the link of a row that has none.
    """
    offered = {name for target in targets(link) for name in names_of(target)}
    kept = [name for name in names_of(board) if name in offered - set(link.variables)]
    parts = [
        *_range(link),
        *(f"var-{name}=${{__data.fields.{column}:percentencode}}" for name, column in link.variables.items()),
        *(f"${{{name}:queryparam}}" for name in kept),
    ]
    return {"targetBlank": False, "title": title, "url": f"/d/{_target(link, lang)}?{'&'.join(parts)}"}


def targets(link: RowLink) -> list[Dashboard]:
    """The dashboards that a row may lead to."""
    return list(DASHBOARDS) if link.dashboard_column else [BY_UID[link.dashboard]]


def names_of(board: Dashboard) -> list[str]:
    """Names of the variables that a person chooses there."""
    return [variable.name for variable in board.variables]


def _target(link: RowLink, lang: Lang) -> str:
    if link.dashboard_column:
        return f"${{__data.fields.{link.dashboard_column}}}{_behind(lang)}"
    return grafana_uid(BY_UID[link.dashboard], lang)


def _range(link: RowLink) -> list[str]:
    """The row's own ends of the range, those that are shown where it has none. The row's are unix milliseconds."""
    if link.from_column is None and link.to_column is None:
        return ["${__url_time_range}"]
    begin = f"${{__data.fields.{link.from_column}.numeric}}" if link.from_column else "${__from}"
    end = f"${{__data.fields.{link.to_column}.numeric}}" if link.to_column else "${__to}"
    return [f"from={begin}", f"to={end}"]


def dashboard_links(board: Dashboard, lang: Lang) -> list[Json]:
    """At the top of a dashboard: the others of its language, and itself in the other languages."""
    links = [_link("dashboards", lang) | {"tags": [tag_of(lang)]}]
    links += [
        _link("link", other) | {"title": _NAMES[other], "url": f"/d/{grafana_uid(board, other)}"}
        for other in LANGS
        if other != lang
    ]
    return links


def _link(kind: str, lang: Lang) -> Json:
    return {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "tags": [],
        "targetBlank": False,
        "title": "",
        "tooltip": "" if kind == "dashboards" else _NAMES[lang],
        "type": kind,
        "url": "",
    }
