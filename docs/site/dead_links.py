"""Links and pictures of the finished site, those in HTML included, lead to a file of it and to an anchor there."""

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError


class _Page(HTMLParser):
    """What a page links to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors = {"", "__skip", "__search"}  # The last two are those of the theme's scripts.
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src", "srcset") and value:
                self.links.add(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def on_post_build(config: MkDocsConfig) -> None:
    """Raise an error that names all dead links."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in Path(config.site_dir).rglob("*.html")}
    dead = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # Its links begin at the address of a server.
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = Path(os.path.normpath(path.parent / unquote(address.path))) if address.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (target in pages and unquote(address.fragment) not in pages[target].anchors):
                dead.append(f"{path.relative_to(config.site_dir)}: {link}")
    if dead:
        raise PluginError("These links lead nowhere:\n" + "\n".join(sorted(dead)))
