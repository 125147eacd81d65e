"""`commonwatt doctor` reaches those who are told of alerts, tells them nothing, and says what is wrong."""

from http import HTTPStatus
from pathlib import Path

from compose.broker import free_port
from compose.doctor_sinks import examine_sinks
from compose.findings import Finding
from schemas.config_alerts import Alertmanager, Notify, Webhook
from tests.alertmanager import alertmanager
from tests.compose.receiver import SECRET, receiver

HASH_OF_TEST = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"  # of "test", from Prometheus's manual
NOBODY = f"http://127.0.0.1:{free_port()}"


def words(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.subject, one.text, one.remedy) for one in found]


async def test_sinks_in_order(tmp_path: Path) -> None:
    """A line for each, and no request that a receiver could take for an alert."""
    with alertmanager(tmp_path / "am") as server, receiver() as hook:
        notify = Notify(
            alertmanager=[Alertmanager(urls=[server.url])],
            webhook=[Webhook(id="ops", url=hook.url, secret_env="HOOK")],
        )
        found = await examine_sinks(notify, {"HOOK": SECRET})
        assert server.alerts() == []
    assert [one.ok for one in found] == [True, True]
    assert found[0].text.startswith("answers, version 0.")
    assert found[1].text == f"its server answers (HTTP {HTTPStatus.NOT_IMPLEMENTED} to HEAD)"
    assert hook.asked == []


async def test_sinks_that_are_not_there() -> None:
    """Nobody listens, something else answers, secrets are missing or short: each has its remedy."""
    with receiver() as other:
        base = other.url.removesuffix("/hook")
        notify = Notify(
            alertmanager=[Alertmanager(urls=[NOBODY, base], token_env="TOKEN")],
            webhook=[
                Webhook(id="ops", url=f"{NOBODY}/hook", secret_env="MISSING"),
                Webhook(id="desk", url=other.url, secret_env="SHORT"),
            ],
        )
        found = words(await examine_sinks(notify, {"SHORT": "abc"}))
    where = "set it where `commonwatt notify` or `up` is started"
    assert found[:3] == [
        (
            "alerts",
            f"the Alertmanager {NOBODY} wants a password or token, and the environment variable TOKEN is not set: "
            "set it.",
            where,
        ),
        (
            "alerts",
            'webhook "ops" is signed with a secret, and the environment variable MISSING is not set: set it.',
            where,
        ),
        ("alerts", "the secret in SHORT has 3 characters: set one of 16 or more.", where),
    ]
    gone, strange, hook, desk = found[3:]
    assert gone[1].startswith("cannot be reached (")
    assert gone[2] == "start it, or correct its address in urls"
    assert strange[1:] == ("HTTP 501 at /api/v2/status", "write its address up to /api/v2")
    assert hook[1].startswith("cannot be reached (")
    assert hook[2] == "start the receiver, or correct its url"
    assert desk[2] == ""


async def test_an_alertmanager_that_asks_who_it_is(tmp_path: Path) -> None:
    """Its own basic authentication: the right password is let in, with a wrong one doctor says what to correct."""
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{u: {HASH_OF_TEST}}}\n")
    with alertmanager(tmp_path / "am", f"--web.config.file={web}") as server:
        notify = Notify(alertmanager=[Alertmanager(urls=[server.url], user="u", password_env="AM")])
        (good,) = await examine_sinks(notify, {"AM": "test"})
        (bad,) = await examine_sinks(notify, {"AM": "guess"})
    assert good.ok
    assert (bad.text, bad.remedy) == (
        "does not let us in (HTTP 401)", "correct user and password_env, or token_env",
    )  # fmt: skip
