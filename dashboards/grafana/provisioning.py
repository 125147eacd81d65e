"""Provisioning files: where Grafana finds the dashboards, and its alert rules."""

from pathlib import PurePosixPath

import yaml

from dashboards.grafana.links import TAG, Json
from schemas.texts import LANGS, Lang

ROOT = PurePosixPath("/etc/grafana/dashboards/commonwatt")
"""Where the folders of dashboards lie on the Grafana host."""
FOLDERS: dict[Lang, str] = {"en": "Commonwatt", "fr": "Commonwatt (français)"}
"""Title of the Grafana folder of each language."""

_GENERATED = (
    "# Written by `commonwatt dashboards build` from the definitions in dashboards/: change those, not this file.\n"
)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML brings no types
    """YAML as people write it: SQL as blocks, lists indented, no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def as_yaml(content: Json, *comments: str) -> str:
    """A provisioning file with comments on top, each of one line."""
    body: str = yaml.dump(content, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1_000_000)
    return _GENERATED + "".join(f"# {line}\n" for line in comments) + body


def folder_uid(lang: Lang) -> str:
    return TAG if lang == "en" else f"{TAG}-{lang}"


def dashboard_providers() -> str:
    """The file in provisioning/dashboards: one folder of dashboards per language."""
    providers = [
        {
            "name": f"{TAG}-{lang}",
            "orgId": 1,
            "folder": FOLDERS[lang],
            "folderUid": folder_uid(lang),
            "type": "file",
            "disableDeletion": True,
            "updateIntervalSeconds": 30,
            "allowUiUpdates": False,
            "options": {"path": str(ROOT / lang), "foldersFromFilesStructure": False},
        }
        for lang in LANGS
    ]
    return as_yaml(
        {"apiVersion": 1, "providers": providers},
        "Put dashboards/grafana/en and dashboards/grafana/fr at these paths on the Grafana host.",
    )
