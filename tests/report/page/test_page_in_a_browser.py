"""The page in Chromium: no error on its console, sorting, opening, filtering."""

import re
import shutil
import subprocess

import pytest

from tests.report.page.pages import make, write_config

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")]

CLICKS = """
<script>
const said = [];
addEventListener("error", (event) => said.push(event.message));
for (const button of document.querySelectorAll("button.sort")) {
  const head = button.closest("th"), place = [...head.parentNode.children].indexOf(head);
  const order = () => [...head.closest("table").tBodies[0].rows].map((row) => row.cells[place].textContent);
  button.focus();
  if (document.activeElement !== button) said.push(`no focus: ${button.textContent}`);
  const before = order(); button.click();
  const once = head.getAttribute("aria-sort"), first = order(); button.click();
  const twice = head.getAttribute("aria-sort"), second = order();
  if (once === twice || [once, twice].includes("none")) said.push(`aria-sort: ${once}, ${twice}`);
  if ([...first].sort().join() !== [...before].sort().join()) said.push(`rows lost: ${button.textContent}`);
  const values = new Set(first.map((text) => text.trim()).filter((text) => text && text !== "—"));
  if (values.size > 1 && first.join() === second.join()) said.push(`not sorted: ${button.textContent}`);
}
const filter = document.getElementById("filter");
filter.value = "digrap"; filter.dispatchEvent(new Event("input"));
const left = document.querySelectorAll("#runs-table tbody tr:not([hidden])").length;
dispatchEvent(new Event("beforeprint")); dispatchEvent(new Event("afterprint"));
for (const button of document.querySelectorAll("button.copy")) button.click();
document.body.dataset.found = JSON.stringify({ said, left, count: document.getElementById("count").textContent });
</script>
</body>"""


def browse(file, fragment=""):
    """(the DOM after loading, what was written to the console)."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=4000"]
    command = [BROWSER, *flags, "--dump-dom", file.as_uri() + fragment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_page_works_in_a_browser(demo, outputs, monkeypatch):
    for cell in demo[1]["DiGraP"]:
        write_config(cell, outputs)
    text = make(monkeypatch, outputs)
    dom, console = browse(outputs / "page.html", "#run-3")
    assert not console
    assert re.search(r'<details id="run-3" class="run" open="">', dom)  # the page's own script ran
    policy = re.search(r"script-src '[^']+'", text)[0]
    copy = outputs / "clicked.html"
    copy.write_text(text.replace(policy, "script-src 'unsafe-inline'").replace("</body>", CLICKS))
    dom, console = browse(copy)
    assert not console
    assert "&quot;said&quot;:[]" in dom and "of 11 runs" in dom, re.search(r'data-found="[^"]*"', dom)[0]


def test_no_other_script_runs(demo, outputs, monkeypatch):
    text = make(monkeypatch, outputs, runs=0)
    copy = outputs / "evil.html"
    copy.write_text(text.replace("</main>", '<script>document.title = "evil"</script></main>'))
    dom, console = browse(copy)
    assert "<title>evil" not in dom and any("Content Security Policy" in line for line in console)
