"""Look at the built site as a reader does: links, search, and pages on a desk and on a phone.

    .venv/bin/python -m pip install -q playwright    # and Chromium
    .venv/bin/python doc/check_site.py output/site --chromium /usr/bin/chromium

Every link within the site must lead to a page and a place on it, no page may be wider than the
window or write an error to the console, every picture must be there, and the search must find what
readers look for. With --pictures, a picture of each page at each width is written to a folder.
"""

import argparse
import functools
import http.server
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from playwright.sync_api import sync_playwright

WIDTHS = {"desk": 1280, "phone": 390}  # pixels
SEARCHED = {  # what readers look for: a page that must be found
    "penalty": "from_scikit_learn.html",
    "label smoothing": "which_loss.html",
    "optimality_gap_": "xentlearn.SoftmaxClassifier.html",
}
FACTS = """() => ({
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    links: [...document.querySelectorAll("a[href]")].map(a => a.href),
    ids: [...document.querySelectorAll("[id], a[name]")].map(e => e.id || e.name),
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
})"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *args):
        pass


def served(folder):
    """The address of a server of a folder, at a free port."""
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def listen(page):
    """A list to which the page's errors are added as they come."""
    errors = []
    page.on("console", lambda line: line.type == "error" and errors.append(line.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def look(browser, address, names, pictures):
    """(problems, {name: facts}) of all pages, at each width."""
    problems, pages = [], {}
    for size, width in WIDTHS.items():
        page = browser.new_page(viewport={"width": width, "height": 900})
        errors = listen(page)
        for name in names:
            errors.clear()
            page.goto(address + name, wait_until="load")
            facts = pages[name] = page.evaluate(FACTS)
            if facts["overflow"] > 1:
                problems.append(f"{name}: {facts['overflow']} px wider than a {size}")
            problems += [f"{name}: no picture at {source}" for source in facts["broken"]]
            problems += [f"{name}: {error}" for error in errors]
            if pictures:
                path = pictures / f"{name.removesuffix('.html').replace('/', '.')}-{size}.png"
                page.screenshot(path=path, full_page=True)
        page.close()
    return problems, pages


def broken_links(folder, address, pages):
    """Problems of links within the site."""
    for name, facts in pages.items():
        for link in sorted(set(facts["links"])):
            target, place = urldefrag(urljoin(address + name, link))
            if not target.startswith(address):
                continue
            path = unquote(urlsplit(target).path).lstrip("/") or "index.html"
            if not (folder / path).is_file():
                yield f"{name}: {path} does not exist"
            elif place and path in pages and unquote(place) not in pages[path]["ids"]:
                yield f"{name}: {path} has no #{place}"


def failed_searches(browser, address):
    """Problems of the search."""
    page = browser.new_page()
    for words, wanted in SEARCHED.items():
        page.goto(f"{address}search.html?q={words.replace(' ', '+')}")
        # results are listed one by one, and the summary is the last thing to change
        page.wait_for_selector("text=/Search finished/", timeout=10_000)
        found = page.eval_on_selector_all("ul.search li a", "all => all.map(a => a.href)")
        if not any(wanted in link for link in found):
            yield f"search: {words!r} finds {len(found)} pages, without {wanted}"
    page.close()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("site", type=Path, help="the folder with index.html")
    parser.add_argument("--chromium", help="the browser, if it is not Playwright's own")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="where to draw all pages")
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    names = sorted(
        path.relative_to(args.site).as_posix()
        for path in args.site.rglob("*.html")
        if "_static" not in path.parts
    )
    address = served(args.site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        problems, pages = look(browser, address, names, args.pictures)
        problems += broken_links(args.site, address, pages)
        problems += failed_searches(browser, address)
    print("\n".join(problems) or f"{len(names)} pages are as they should be.")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
