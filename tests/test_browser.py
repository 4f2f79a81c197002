"""Reports in a real browser: nothing is fetched, nothing fails, everything is drawn and can be read.

Headless Chromium, driven by selenium; skipped where there is none.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.report import write_report
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.study import plan_study, run_study

pytestmark = pytest.mark.slow

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
TINY = {
    "dialogues": 12,
    "train_dialogues": 24,
    "seeds": (0, 1),
    "embeddings": {"epochs": 1},
}
STUDY = """
title = "Two points"
about = "Who decides the strategy."
[settings]
dialogues = 4
train_dialogues = 8
seeds = [0]
[settings.embeddings]
epochs = 1
[[point]]
name = "unified"
point = "unified"
[[point]]
name = "without-strategy"
point = "without-strategy"
[[run]]
name = "main"
[[artifact]]
kind = "grid"
name = "grid"
title = "The grid"
run = "main"
arms = ["unified", "grid@without-strategy"]
[[artifact]]
kind = "numbers"
name = "numbers"
title = "The numbers"
run = "main"
arms = ["unified", "grid@without-strategy"]
metrics = ["sr@15"]
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver on the path (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A comparison of two learned arms and a rule."""
    out = tmp_path_factory.mktemp("compared") / "run"
    compare(resolve({"arms": "unified,rso,max-entropy", **TINY}), out)
    return RunFolder(out)


@pytest.fixture(scope="module")
def pages(compared: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports by kind."""
    trained = RunFolder(tmp_path_factory.mktemp("trained") / "run")
    shutil.copytree(compared.path, trained.path)
    for path in (trained.traces, trained.results, trained.report):
        path.unlink()
    write_report(trained)
    place = tmp_path_factory.mktemp("study")
    (place / "points.toml").write_text(STUDY)
    run_study(plan_study(str(place / "points.toml"), {}), place / "out")
    return {
        "comparison": compared.report,
        "training": trained.report,
        "study": place / "out" / "report.html",
    }


KINDS = ("comparison", "training", "study")


def show(
    browser: webdriver.Chrome, page: Path, width: int = 1200, scheme: str = "light", media: str = ""
) -> None:
    """Open a page as somebody would with that screen and those wishes."""
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)  # what other pages left there
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    wish = {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    browser.get(page.as_uri())


def fetched(browser: webdriver.Chrome) -> list[str]:
    """Addresses that were asked for."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


UNDRAWN = """
return [...document.querySelectorAll(".figure")].filter(figure => {
  const drawing = figure.querySelector("svg.main-svg")?.getBoundingClientRect();
  const marks = figure.querySelectorAll(".scatterlayer .trace, .barlayer .trace, .heatmaplayer .hm");
  return !drawing || drawing.width < 100 || drawing.height < 100 || !marks.length;
}).map(figure => figure.id);
"""
SMALL = """
const small = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; (node = walker.nextNode());) {
  const holder = node.parentElement;
  if (!node.data.trim() || holder.closest("script, style, title")
      || !holder.getClientRects().length) continue;
  if (parseFloat(getComputedStyle(holder).fontSize) < 12) small.add(holder.outerHTML.slice(0, 120));
}
return [...small];
"""
FAINT = """
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgb = colour => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = colour => rgb(colour).slice(0, 3).map(part => part / 255)
  .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
const ground = element => {
  for (let at = element; at; at = at.parentElement) {
    const found = getComputedStyle(at).backgroundColor;
    if (rgb(found)[3] === 255) return found;
  }
  return "white";
};
const faint = [];
const words = "h1, p, td, th, summary, figcaption, pre, a, .figure text, .hood text";
for (const element of document.querySelectorAll(words)) {
  if (!element.getClientRects().length || element.closest(".hoverlayer")) continue;
  const style = getComputedStyle(element), ink = element instanceof SVGElement ? style.fill : style.color;
  const pair = [light(ink), light(ground(element))].sort((one, other) => other - one);
  const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (contrast < 4.5) faint.push([element.tagName, element.className.baseVal ?? element.className, contrast]);
}
return [light(ground(document.body)), faint.slice(0, 5)];
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_opens_by_itself_and_draws_everything(
    kind: str, pages: dict[str, Path], browser: webdriver.Chrome
) -> None:
    show(browser, pages[kind])
    assert browser.get_log("browser") == []
    asked = fetched(browser)
    assert asked[0] == pages[kind].as_uri()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert [url for url in asked[1:] if url.startswith("file:")] == []
    assert browser.execute_script(UNDRAWN) == []
    declared = browser.execute_script("return Object.keys(figures)")
    drawn = browser.execute_script("return [...document.querySelectorAll('.figure')].map(one => one.id)")
    assert sorted(drawn) == sorted(f"figure-{name}" for name in declared)
    assert len(declared) >= 2


def test_a_comparison_has_every_figure(pages: dict[str, Path], browser: webdriver.Chrome) -> None:
    show(browser, pages["comparison"])
    names = set(browser.execute_script("return Object.keys(figures)"))
    assert {
        *("forest-0", "forest-1", "forest-2", "success"),
        *("pareto-turns", "pareto-lm_calls_per_dialogue", "pareto-tokens_per_dialogue"),
        *("pareto-train_seconds", "pareto-parameters"),
        *("strategies-0", "strategies-1", "strategies-2"),
        *("why-questions", "why-entropy", "why-strategies-0", "why-interference"),
        *("latents", "belief", "episode-success", "episode-turns"),
    } <= names
    assert browser.execute_script("return document.querySelectorAll('.pair').length") == 10
    assert browser.execute_script("return document.querySelectorAll('svg.hood').length") >= 20


def test_the_verdict_comes_first(
    pages: dict[str, Path], compared: RunFolder, browser: webdriver.Chrome
) -> None:
    show(browser, pages["comparison"])
    first = browser.execute_script(
        "const first = document.querySelector('h1').nextElementSibling;"
        "return [first.className, first.textContent, first.getBoundingClientRect().bottom]"
    )
    assert first[:2] == ["verdict", json.loads(compared.results.read_text())["verdict"]]
    assert first[2] < 900  # seen without scrolling
    show(browser, pages["study"])
    assert (
        browser.execute_script("return document.querySelector('h1').nextElementSibling.className")
        == "verdict"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_can_be_read_on_a_narrow_screen(
    kind: str, pages: dict[str, Path], browser: webdriver.Chrome
) -> None:
    show(browser, pages[kind], width=400)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= 400
    assert browser.execute_script(SMALL) == []
    assert browser.execute_script(UNDRAWN) == []
    wide = (
        "return [...document.querySelectorAll('svg.main-svg')].map(one => one.getBoundingClientRect().right)"
    )
    assert max(browser.execute_script(wide)) <= 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_stands_out_from_its_ground(
    kind: str, scheme: str, pages: dict[str, Path], browser: webdriver.Chrome
) -> None:
    show(browser, pages[kind], scheme=scheme)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    ground, faint = browser.execute_script(FAINT)
    assert ground < 0.05 if scheme == "dark" else ground > 0.9
    assert faint == []


def test_a_page_follows_the_scheme_while_it_is_open(
    pages: dict[str, Path], browser: webdriver.Chrome
) -> None:
    show(browser, pages["comparison"])
    ink = "return getComputedStyle(document.querySelector('#figure-success text')).fill"
    light = browser.execute_script(ink)
    wish = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    assert browser.execute_script(ink) != light


def test_the_checks_find_what_they_look_for(
    pages: dict[str, Path], browser: webdriver.Chrome, tmp_path: Path
) -> None:
    spoiled = tmp_path / "spoiled.html"
    worse = (
        '<p style="font-size: 9px">tiny</p><p style="color: #ddd">faint</p>'
        '<div style="width: 500px">wide</div>'
        '<img src="http://127.0.0.1:9/pixel.png"><script>nothing.is.there</script><div class="figure"></div>'
    )
    spoiled.write_text(pages["training"].read_text().replace("</body>", f"{worse}</body>"))
    show(browser, spoiled, width=400)
    assert browser.execute_script("return document.scrollingElement.scrollWidth") > 400
    assert len(browser.execute_script(SMALL)) == 1
    assert len(browser.execute_script(FAINT)[1]) == 1
    assert len(browser.execute_script(UNDRAWN)) == 1
    assert any("nothing is not defined" in entry["message"] for entry in browser.get_log("browser"))
    assert "http://127.0.0.1:9/pixel.png" in fetched(browser)


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_can_be_printed(kind: str, pages: dict[str, Path], browser: webdriver.Chrome) -> None:
    show(browser, pages[kind], scheme="dark", media="print", width=720)
    ground, faint = browser.execute_script(FAINT)
    assert ground > 0.9  # on paper, whatever the screen is like
    assert faint == []
    show(browser, pages[kind])
    browser.execute_script(
        "window.widths = []; const widest = () => Math.max(...[...document.querySelectorAll('svg.main-svg')]"
        ".map(one => one.getBoundingClientRect().width));"
        "addEventListener('beforeprint', () => widths.push(widest()));"
    )
    printed: dict[str, Any] = browser.execute_cdp_cmd("Page.printToPDF", {})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    widths = browser.execute_script("return widths")
    assert len(widths) == 1
    assert widths[0] <= 700  # of the 720 or so that a page has
