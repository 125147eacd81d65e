"""Fixtures of the page tests: the seeded book, the page as a process of its own, and a real browser."""

import contextlib
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import chromium
from tests.dashboards import servers

REFRESH_S = 2.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Without one the tests are skipped, but fail in CI (CI=true)."""
    path, missing = chromium.find()
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield instance
        instance.close()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouse]:
    with servers.clickhouse(tmp_path_factory.mktemp("seeded"), seeded=True) as clickhouse:
        yield clickhouse


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouse]:
    with servers.clickhouse(tmp_path_factory.mktemp("empty"), seeded=False) as clickhouse:
        yield clickhouse


@contextlib.contextmanager
def page(clickhouse_url: str, folder: Path) -> Iterator[str]:
    """The page as a process; SIGTERM must end it with exit status 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["dashboards.page", "--clickhouse", clickhouse_url, "--port", str(port), "--refresh", str(REFRESH_S)]
    log = folder / "page.log"
    with servers.process(arguments, log) as child:
        end = time.monotonic() + servers.START_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                assert time.monotonic() < end, log.read_text()
                assert child.poll() is None, log.read_text()
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def page_url(seeded: servers.ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page on the seeded book."""
    with page(seeded.url, tmp_path_factory.mktemp("page")) as url:
        yield url


@pytest.fixture(scope="module")
def empty_page_url(empty: servers.ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page on an empty book."""
    with page(empty.url, tmp_path_factory.mktemp("page")) as url:
        yield url
