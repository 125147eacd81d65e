"""What docs/alerting.md shows works as it stands: the configuration, the receiver's check, the Alertmanager file."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compose.notify.webhook import message, signature
from schemas.config_file import load
from tests.alertmanager import program
from tests.compose.alerting import firing, now_ms
from tests.roles import ROOT

PAGE = (ROOT / "docs" / "alerting.md").read_text(encoding="utf-8")


def shown(language: str) -> str:
    """The one example in a language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def test_the_configuration_loads(tmp_path: Path) -> None:
    """And names everybody that the text speaks of."""
    file = tmp_path / "c.toml"
    file.write_text('[[cluster]]\nid = "fir"\ncountry = "CA"\n' + shown("toml"))
    notify = load(file).notify
    assert [len(section.urls) for section in notify.alertmanager] == [2]
    assert [hook.id for hook in notify.webhook] == ["finance-desk"]
    assert notify.repeat == 60.0


def test_the_check_of_a_receiver_fits_the_signature() -> None:
    """It accepts what is sent, and neither another body, nor another secret, nor a request of yesterday."""
    names: dict[str, Any] = {}
    source = shown("python")
    exec(source, names)
    verified = names["verified"]
    assert len(source.strip().splitlines()) <= 10
    body, now_s = repr(message("ops", firing(), None)).encode(), now_ms() // 1000
    good = signature(b"secret", now_s, body)
    assert verified(b"secret", good, body)
    assert not verified(b"secret", good, body + b" ")
    assert not verified(b"other", good, body)
    assert not verified(b"secret", signature(b"secret", now_s - 86_400, body), body)


def test_amtool_accepts_the_example(tmp_path: Path) -> None:
    """Syntax, references between routes and receivers, templates."""
    amtool = program("amtool")
    file = tmp_path / "alertmanager.yml"
    file.write_text(shown("yaml"), encoding="utf-8")
    done = run(amtool, "check-config", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(shown("yaml").replace("receiver: finance-now", "receiver: nowhere"), encoding="utf-8")
    assert run(amtool, "check-config", str(file)).returncode != 0


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"severity": "critical", "audience": "finance", "alertname": "budget_100"}, "finance-now,finance"),
        ({"severity": "info", "audience": "finance", "alertname": "budget_50"}, "finance"),
        ({"severity": "critical", "audience": "operations", "alertname": "xid"}, "on-call"),
        ({"severity": "warning", "audience": "operations", "alertname": "allocated_idle"}, "operators"),
        ({"severity": "info", "audience": "operations", "alertname": "of_tomorrow"}, "nobody"),
    ],
)
def test_the_example_tells_whom_the_text_says(labels: dict[str, str], receivers: str, tmp_path: Path) -> None:
    """By severity and audience, as Alertmanager itself routes."""
    amtool = program("amtool")
    file = tmp_path / "alertmanager.yml"
    file.write_text(shown("yaml"), encoding="utf-8")
    pairs = [f"{name}={value}" for name, value in labels.items()]
    done = run(amtool, "config", "routes", "test", f"--config.file={file}", *pairs)
    assert done.stdout.strip() == receivers, done.stderr


def run(amtool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [amtool, *arguments], cwd=amtool.parent, capture_output=True, text=True, timeout=60, check=False
    )
