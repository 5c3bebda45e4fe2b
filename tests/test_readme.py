"""The README: its table is the one that was measured, and its links lead somewhere.

Its code is run as a doctest, its test command by continuous integration.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"]


def tables(text):
    """Tables in Markdown, as lists of lines."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [table.splitlines() for table in found]


def anchors(text):
    """What headings of a Markdown file are called in links."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_table_is_the_one_that_was_measured():
    measured = (ROOT / "doc" / "results" / "logistic_regression.md").read_text()
    (shown,) = tables((ROOT / "README.md").read_text())
    assert shown == tables(measured)[0]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, place = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.is_file(), link
        assert not place or place in anchors(target.read_text()), link
