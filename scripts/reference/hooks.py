"""Hooks of MkDocs: add the generated pages, adapt links, and put diagrams into the pages.

Diagrams are SVG files. Within the page, they follow its colors, light or dark.
"""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.reference.pages import GENERATED, ROOT, SHOWN, with_links_of_the_site

_DIAGRAM = re.compile(r'<img alt="([^"]*)" src="[^"]*?images/diagrams/([a-z-]+\.svg)"\s*/?>')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, and those of the root."""
    for name, make in GENERATED.items():
        files.append(File.generated(config, name, content=make()))
    for name, source in SHOWN.items():
        if not name.endswith(".md"):
            files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
            continue
        adapted = with_links_of_the_site((ROOT / source).read_text(), source)
        files.append(File.generated(config, name, content=adapted))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adapt the links of a page to files outside docs/."""
    if page.file.src_uri in SHOWN:
        return markdown
    return with_links_of_the_site(markdown, f"docs/{page.file.src_uri}")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the diagrams into the page, so that its colors apply to them."""

    def inline(found: re.Match[str]) -> str:
        path = Path(config.docs_dir) / "images" / "diagrams" / found[2]
        drawing = re.sub(r"<style>.*?</style>", "", path.read_text(), flags=re.DOTALL)
        return f'<div class="diagram" role="img" aria-label="{found[1]}">{drawing}</div>'

    return _DIAGRAM.sub(inline, html)
