"""Links of the Markdown files, which are written for readers of the repository, made to work on the site.

Some pages lie outside docs/ (CONTRIBUTING.md, model cards): the site has them under repository/. README.md is the start
page. A link to anything else in the repository, such as a source file, becomes its text.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "csrc/README.md", "benchmarks/README.md")
PUBLISHED = [*OUTSIDE, *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("dasr_fast/weights/*.md")))]

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    for name in PUBLISHED:
        files.append(File.generated(config, f"repository/{name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Turn the links of a page into links between pages of the site."""
    here = page.file.src_uri
    place = Path(here.removeprefix("repository/")) if here.startswith("repository/") else Path("docs", here)

    def link(found: re.Match[str]) -> str:
        picture, text, target, anchor = found.groups(default="")
        path = os.path.normpath(ROOT / place.parent / target)
        name = os.path.relpath(path, ROOT)
        if name.startswith("docs/"):
            page_name = name.removeprefix("docs/")
        elif name == "README.md":
            page_name = "index.md"
        elif name in PUBLISHED:
            page_name = f"repository/{name}"
        elif os.path.exists(path):
            return text
        else:
            return found[0]  # MkDocs complains.
        return f"{picture}[{text}]({os.path.relpath(page_name, os.path.dirname(here) or '.')}{anchor})"

    return _LINK.sub(link, markdown)
