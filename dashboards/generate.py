"""The files that are generated from the definitions: Grafana's dashboards and provisioning, and their documentation."""

from collections.abc import Mapping
from pathlib import Path

from dashboards.boards import DASHBOARDS
from dashboards.documents.alerts_page import alerts_page
from dashboards.documents.dashboards_page import dashboards_page
from dashboards.grafana import render
from dashboards.grafana.datasources import datasource_files
from dashboards.grafana.links import grafana_uid
from dashboards.grafana.provisioning import dashboard_providers
from dashboards.grafana.rules import alert_rules_file
from schemas.config_alerts import Alerts
from schemas.texts import LANGS


def grafana_files(settings: Alerts | None = None) -> dict[str, str]:
    """Path -> content: dashboards, one file per language, and provisioning. Thresholds of alert rules: `settings`."""
    boards = {
        f"grafana/{lang}/{grafana_uid(board, lang)}.json": render(board, lang) for lang in LANGS for board in DASHBOARDS
    }
    return boards | {
        "provisioning/dashboards/commonwatt.yaml": dashboard_providers(),
        "provisioning/alerting/commonwatt.yaml": alert_rules_file(settings or Alerts()),
        **datasource_files(),
    }


def documents() -> dict[str, str]:
    """Path -> content: pages of docs/."""
    return {"dashboards.md": dashboards_page(), "alerts.md": alerts_page()}


def write(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write the files below `folder`; returns their paths, in order. Raises OSError."""
    written = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
