"""What must hold for the pages of the site: they need no network, and every link inside leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

REGISTRIES = re.compile(
    r"(pypi\.org|pythonhosted\.org|anaconda\.org|conda-forge\.org|npmjs\.com|readthedocs\.org/projects)"
)


class Links(HTMLParser):
    """Links and anchors of one page, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("id", "name"):
            if given.get(name):
                self.anchors.add(str(given[name]))
        if tag == "a" and given.get("href"):
            self.targets.append(str(given["href"]))
        if tag in ("script", "img", "source", "iframe", "video", "input") and given.get("src"):
            self.loaded.append(str(given["src"]))
        if tag == "link" and given.get("href") and given.get("rel") not in ("canonical",):
            self.loaded.append(str(given["href"]))


def check(html: Path) -> list[str]:
    """Return a sentence for everything that is wrong with a built site."""
    read: dict[Path, Links] = {}
    for page in sorted(html.rglob("*.html")):
        if "_static" not in page.parts:
            read[page] = Links()
            read[page].feed(page.read_text(encoding="utf-8"))
    return [sentence for page in read for sentence in _of_page(page, read, html)]


def _of_page(page: Path, read: dict[Path, Links], html: Path) -> Iterator[str]:
    here = page.relative_to(html)
    for target in read[page].loaded:
        if re.match(r"(https?:)?//", target):
            yield f"{here} loads {target}, which needs the network"
        elif not target.startswith("data:") and not (page.parent / unquote(re.split("[?#]", target)[0])).exists():
            yield f"{here} loads {target}, which is missing"
    for target in read[page].targets:
        if REGISTRIES.search(target):
            yield f"{here} links to the registry {target}"
        if re.match(r"[a-z]+:", target) or target.startswith("//"):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / unquote(file)).resolve() if file else page
        if not found.exists():
            yield f"{here} links to {target}, which is missing"
        elif anchor and found in read and unquote(anchor) not in read[found].anchors:
            yield f"{here} links to {target}, where that anchor is missing"
