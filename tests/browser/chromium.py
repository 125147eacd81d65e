"""A headless Chromium for page tests: the machine's own, else Debian's package, else the one in npm."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CACHE = Path(__file__).parents[2] / "out" / "chromium"
NPM_PACKAGE = "@sparticuz/chromium"
INSTALL_S = 240


@functools.cache
def find() -> tuple[str, str]:
    """(path of the executable, "") or ("", why there is none). CHROMIUM names one explicitly."""
    for candidate in (os.environ.get("CHROMIUM", ""), *NAMES):
        if candidate and (path := shutil.which(candidate)):
            return path, ""
    for attempt in (_from_debian, _from_npm):
        if path := attempt():
            return path, ""
    return "", (
        "no Chromium: install Debian's package `chromium`, or npm (for the package @sparticuz/chromium), "
        "or name an executable in CHROMIUM"
    )


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=True, cwd=CACHE)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _from_debian() -> str | None:
    """Install the package, which takes root."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    _run("apt-get", "update")
    _run("apt-get", "install", "-y", "--no-install-recommends", "chromium", "fonts-liberation")
    return shutil.which("chromium")


def _from_npm() -> str | None:
    """A whole browser in a package, kept below out/."""
    if shutil.which("npm") is None:
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (CACHE / "node_modules" / NPM_PACKAGE).is_dir():
        _run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(CACHE), NPM_PACKAGE)
    script = f"import chromium from '{NPM_PACKAGE}'; console.log(await chromium.executablePath())"
    path = _run("node", "--input-type=module", "-e", script)
    return path if path and os.access(path, os.X_OK) else None
