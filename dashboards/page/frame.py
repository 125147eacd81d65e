"""What surrounds the figures: language, theme and style of a page, and what is seen before it is built."""

import copy
from html import escape
from importlib.resources import files

from nicegui import ui

from dashboards.boards import DASHBOARDS
from dashboards.model import Dashboard, Panel
from dashboards.page import words
from dashboards.page.markup import tag
from dashboards.page.state import Theme
from schemas.texts import Lang

STYLE = (files("dashboards.page") / "style.css").read_text(encoding="utf-8")
LOGO = (files("dashboards.page") / "favicon.svg").read_text(encoding="utf-8")

# Back and forward read the page that the address says. Figures are written anew while somebody may be at a link or a
# head of a table with the keyboard: the same one is taken up again.
_SCRIPT = """
addEventListener('popstate', () => { if (!location.hash) location.reload(); });
(() => {
  let held = null;
  document.addEventListener('focusin', event => {
    const element = event.target, body = element.closest('.cw-body');
    const own = element.dataset.sort ? `[data-sort="${CSS.escape(element.dataset.sort)}"]`
      : `a[href="${CSS.escape(element.getAttribute('href') ?? '')}"]`;
    held = body && {element, body, own};
  });
  new MutationObserver(() => {
    if (held && !held.element.isConnected && document.activeElement === document.body)
      held.body.querySelector(held.own)?.focus({preventScroll: true});
  }).observe(document, {childList: true, subtree: true});
})();
"""


def dress(lang: Lang, theme: Theme, title: str) -> None:
    """Language, theme and style of the page that is being built."""
    client = ui.context.client
    client.page = copy.copy(client.page)
    client.page.language = "fr" if lang == "fr" else "en-US"
    client.page.dark = is_dark(theme)
    ui.page_title(f"{title} · Commonwatt")
    ui.add_head_html(f"<style>{STYLE}</style><script>{_SCRIPT}</script>")
    if theme:
        ui.add_head_html(f"<script>document.documentElement.dataset.theme = '{theme}'</script>")


def not_found(lang: Lang) -> None:
    """A page for an address that names no dashboard."""
    client = ui.context.client
    client.status_code = 404
    dress(lang, "", "404")
    links = "".join(
        tag("li", tag("a", escape(board.title.of(lang)), href=f"/d/{board.uid}?lang={lang}")) for board in DASHBOARDS
    )
    ui.html(tag("h1", escape(words.NOT_FOUND.of(lang))) + tag("ul", links), sanitize=False, tag="main").classes(
        "cw-lost"
    )


def place(panel: Panel) -> str:
    """Place in the grid, as CSS variables."""
    grid = panel.grid
    return f"--x:{grid.x + 1};--y:{grid.y + 1};--w:{grid.w};--h:{grid.h}"


def title_block(board: Dashboard, lang: Lang) -> str:
    return tag(
        "div", tag("h1", escape(board.title.of(lang))), tag("p", escape(board.question.of(lang))), _class="cw-title"
    )


def brand() -> str:
    """Logo and name."""
    return LOGO + tag("span", "Commonwatt")


def curtain(board: Dashboard, lang: Lang) -> None:
    """What is seen until the scripts have built the page: the same page, without its figures."""
    cards = "".join(
        tag("div", tag("div", tag("h2", escape(panel.title.of(lang))), _class="cw-head"),
            _class=f"cw-panel cw-{panel.kind}", style=place(panel))
        for panel in board.panels
    )  # fmt: skip
    top = tag("div", tag("div", brand(), _class="cw-brand"), _class="cw-top")
    title = tag("div", title_block(board, lang), _class="cw-title-row")
    header = tag("div", top, title, tag("div", _class="cw-choices"), _class="cw-header")
    grid = tag("div", cards, _class="cw-main")
    ui.add_body_html(tag("div", header, grid, _class="cw-curtain nicegui-content", aria_hidden="true"))


def is_dark(theme: Theme) -> bool | None:
    """The theme as NiceGUI wants it; None follows the system."""
    return None if theme == "" else theme == "dark"
