"""compose/docker-compose.yaml and servers.toml agree with each other, and with what they mount. No Docker is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.grafana.datasources import variable
from dashboards.grafana.provisioning import ROOT as BOARDS
from dashboards.grafana.sources import SOURCES
from schemas.config import Config
from schemas.config_file import load
from tests.roles import ROOT

FOLDER = ROOT / "compose"


@pytest.fixture(scope="module")
def services() -> Any:
    return yaml.safe_load((FOLDER / "docker-compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def config() -> Config:
    return load(FOLDER / "servers.toml")


def mounts(services: Any) -> dict[str, Path]:
    """Path in Grafana's container -> what lies there."""
    pairs = (mount.split(":") for mount in services["grafana"]["volumes"])
    return {inside: (FOLDER / outside).resolve() for outside, inside, *_ in pairs if outside.startswith(".")}


def test_grafana_finds_its_files(services: Any) -> None:
    """Folders that are mounted are there, and dashboards lie where their provider looks for them."""
    found = mounts(services)
    assert all(folder.is_dir() and any(folder.rglob("*.*")) for folder in found.values()), found
    for kind in ("datasources", "dashboards", "alerting"):
        assert found[f"/etc/grafana/provisioning/{kind}"] == ROOT / "dashboards" / "provisioning" / kind
    assert found[str(BOARDS)] == ROOT / "dashboards" / "grafana"


def test_grafana_knows_every_variable_of_its_files(services: Any) -> None:
    """Grafana takes a variable that is not set for nothing, without a word."""
    folder = mounts(services)["/etc/grafana/provisioning/datasources"]
    used = {name for file in folder.iterdir() for name in re.findall(r"\$([A-Z_]+)", file.read_text())}
    assert used >= {variable(source, "PASSWORD") for source in SOURCES}
    assert used <= set(services["grafana"]["environment"])


def test_readers_are_the_users_of_the_data_sources(services: Any, config: Config) -> None:
    """Names, and the variables with their passwords, are the same on both sides."""
    environment = services["grafana"]["environment"]
    for reader in config.reader:
        assert environment[f"CLICKHOUSE_{reader.role.upper()}_USER"] == reader.id
        assert environment[reader.password_env].startswith(f"${{{reader.password_env}:?")
    assert len(config.reader) == len(SOURCES)


def test_commonwatt_reaches_the_servers(services: Any, config: Config) -> None:
    """By the ports that are open to this machine, as the user that ClickHouse makes."""
    assert config.kafka
    assert config.clickhouse
    said = [config.kafka.url, config.clickhouse.url, *config.notify.alertmanager[0].urls, str(config.notify.page_url)]
    opened = {port for service in services.values() for port in service["ports"]}
    assert {f"127.0.0.1:{url.rpartition(':')[2]}:{url.rpartition(':')[2]}" for url in said} == opened
    assert services["clickhouse"]["environment"]["CLICKHOUSE_USER"] == config.clickhouse.user
    assert services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].endswith(
        config.kafka.url.removeprefix("kafka")
    )


def test_nothing_is_open_or_left_to_chance(services: Any) -> None:
    """Ports on this machine alone, images of one version, no password in the file."""
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert re.search(r":v?\d+\.\d+", service["image"]), name
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or re.match(r"\$\{\w+:\?", value), key
