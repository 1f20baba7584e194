"""Every command and Python block of README and handbook runs, or says why not."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from pedseg_train.synthetic.dataset import synthesize

from .blocks import blocks_of, commands, parse, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorials" / "penn-fudan.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
OTHERS = [page for page in PAGES if page != TUTORIAL]


def go_through(page: Path, folder: Path) -> int:
    """Run the blocks of a page in a folder; the number that were run."""
    before, done, namespace = Path.cwd(), 0, {"__name__": "handbook"}
    os.chdir(folder)
    try:
        for block in blocks_of(page):
            if block.kind == "not run":
                parse(block)
            else:
                run(block, namespace)
                done += 1
    finally:
        os.chdir(before)
        for name in ("server", "segmenter", "reference"):  # what readers' programs end with
            thing = namespace.get(name)
            if thing is not None and not isinstance(thing, ModuleType):
                getattr(thing, "close", getattr(thing, "server_close", None))()
    return done


@pytest.fixture(scope="session")
def after_the_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the tutorial leaves it: data, a run, an artifact. All other pages begin there."""
    folder = tmp_path_factory.mktemp("tutorial")
    synthesize(folder / "PennFudanPed", images=12, seed=3, min_size=128, max_size=200)
    shutil.copy(next((folder / "PennFudanPed" / "PNGImages").iterdir()), folder / "street.jpg")
    assert go_through(TUTORIAL, folder) >= 7
    return folder


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page: Path, after_the_tutorial: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(after_the_tutorial, folder, copy_function=os.link)
    marked = [block for block in blocks_of(page) if block.kind == "not run"]
    assert go_through(page, folder) == len(blocks_of(page)) - len(marked)


def test_what_is_not_run_has_a_reason_and_the_rest_are_many() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    left_out = [block for block in blocks if block.kind == "not run"]
    assert all(len(block.text) > 10 for block in left_out)
    assert len(blocks) - len(left_out) >= 30


LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, on the repository's site."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for name, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / name if name else page
        assert target.exists(), name
        if anchor and not anchor.startswith("pedseg_"):  # of the reference: `make docs` checks it
            assert anchor in anchors(target), f"{name}#{anchor}"


def test_make_has_what_the_pages_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    made = {
        words[1]
        for page in PAGES
        for block in blocks_of(page)
        if not block.language
        for words in commands(block)
        if words[0] == "make"
    }
    assert {"demo", "demo-full", "docs"} <= made <= targets
