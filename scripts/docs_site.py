"""Makes a site of what is written for a code host: README, changelog, docs/ and docstrings.

A hook of MkDocs (`hooks:` in mkdocs.yml). Pages are written once, with links that work on a code
host. Here the links that lead out of docs/ are turned: to the README's and the changelog's page, to
the reference where they name a module, and to nothing where they name a file that a site has not.
"""

import posixpath
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "model_compression"

ROOMS = (
    "models",
    "images",
    "training",
    "distillation",
    "pruning",
    "quantization",
    "deployment",
    "evaluation",
    "reporting",
    "datasets",
    "tracking",
)
SINGLE = ("graph_colours", "known_parameters")
"""Modules that are no room, together on one page."""

MOVED = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the site that lie beside docs/ on a code host."""

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made of other files, and finds the pages that `nav` means."""
    for source, page in MOVED.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for name, content in reference_pages():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    pages = [file.src_uri for file in files.documentation_pages()]
    config.nav = expand(config.nav, pages, set(named(config.nav)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links that lead out of docs/."""
    source = {made: name for name, made in MOVED.items()}.get(page.file.src_uri)
    folder = "" if source else posixpath.dirname(f"docs/{page.file.src_uri}")
    return _LINK.sub(lambda link: turned(link, folder, page.file.src_uri), markdown)


def turned(link: re.Match[str], folder: str, page: str) -> str:
    """The link as the site needs it.

    Args:
        link: A match of ``_LINK``.
        folder: Of the page's source, from the project's root.
        page: The page in the site.
    """
    target = link["target"]
    if "://" in target or target.startswith(("mailto:", "/")):
        return link[0]
    path = posixpath.normpath(posixpath.join(folder, target))
    if path.startswith("docs/"):
        site = path.removeprefix("docs/")
    elif path in MOVED:
        site = MOVED[path]
    elif (ROOT / path).suffix == ".py" and path.startswith("src/"):
        module = path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        return f"[{link['text']}][{module}]"
    elif (ROOT / path).exists():
        return link["text"]
    else:
        return link[0]  # MkDocs will say that it leads nowhere
    relative = posixpath.relpath(site, posixpath.dirname(page) or ".")
    return f"{link['image']}[{link['text']}]({relative}{link['anchor'] or ''})"


def reference_pages() -> Iterator[tuple[str, str]]:
    """Name and content of each page of the reference."""
    yield (
        "README",
        "\n".join(
            [
                "# Reference",
                "",
                "From the docstrings, a page a room; see [the house](../architecture.md).",
                "",
                *(f"- [{room}]({room}.md)" for room in (*ROOMS, "parameters", "kedro")),
                "",
            ]
        ),
    )
    for room in ROOMS:
        modules = [
            ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            for path in sorted((PACKAGE / room).rglob("*.py"))
            if not path.stem.startswith("_")
        ]
        yield room, "\n".join([_head(room), *(f"::: {module}\n" for module in modules)])
    settings = [
        f"model_compression.pipelines.{path.parent.name}.parameters"
        for path in sorted((PACKAGE / "pipelines").glob("*/parameters.py"))
    ]
    yield (
        "parameters",
        "# parameters\n\nThe typed groups that `conf/*/parameters*.yml` are checked against.\n\n"
        + "\n".join(f"::: {module}\n" for module in ["model_compression.parameters", *settings]),
    )
    yield (
        "kedro",
        "# kedro\n\nWhat Kedro and Kedro-Viz are told.\n\n"
        + "\n".join(f"::: model_compression.{module}\n" for module in SINGLE),
    )


def _head(room: str) -> str:
    options = "    options: {members: false, show_root_heading: false, show_root_toc_entry: false}"
    return f"# {room}\n\n::: model_compression.{room}\n{options}\n"


def named(nav: list) -> Iterator[str]:
    """Every page and pattern of a nav."""
    for entry in nav:
        values = entry.values() if isinstance(entry, dict) else [entry]
        for value in values:
            yield from named(value) if isinstance(value, list) else [value]


def expand(nav: list, pages: list[str], taken: set[str]) -> list:
    """The nav with patterns replaced by the pages that they match in their own folder.

    Args:
        nav: As in mkdocs.yml.
        pages: All pages of the site.
        taken: Pages that the nav names; no pattern gives them again.
    """
    found: list = []
    for entry in nav:
        if isinstance(entry, dict):
            found.append(
                {
                    title: expand(value, pages, taken) if isinstance(value, list) else value
                    for title, value in entry.items()
                }
            )
        elif "*" in entry:
            found += sorted(
                page
                for page in pages
                if fnmatch(page, entry)
                and page.count("/") == entry.count("/")
                and page not in taken
            )
        else:
            found.append(entry)
    return found
