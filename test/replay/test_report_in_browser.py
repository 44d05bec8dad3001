# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The report in a browser: no script error, the film moves, and the page can be printed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbd_seg_ros.replay.criteria import Criterion
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"needs one of {', '.join(NAMES)}; sudo apt install chromium"
)

#: Catches errors, moves the film to its third picture, and writes what it finds to <html>.
PROBE = """<script>
const note = (key, value) => { document.documentElement.dataset[key] = value; };
window.addEventListener("error", event => note("error", event.message));
window.addEventListener("load", () => {
  const film = document.querySelector(".film"), range = film.querySelector("input");
  note("reachable", [...document.querySelectorAll("input, a, [tabindex='0']")]
    .every(e => { e.focus(); return document.activeElement === e; }));
  range.value = 2;
  range.dispatchEvent(new Event("input"));
  note("shown", [...film.querySelectorAll("figure")].map(f => f.hidden ? 0 : 1).join(""));
  note("text", range.getAttribute("aria-valuetext"));
  note("caption", film.querySelector("figure:not([hidden]) figcaption").textContent);
  note("broken", [...document.images].filter(i => !i.complete || !i.naturalWidth).length);
  note("verdict", document.querySelector("[aria-label='Verdict'] h3").innerText);
  note("results", [...document.querySelectorAll("[aria-label='Verdict'] td span")]
    .filter(e => e.checkVisibility()).map(e => e.innerText).join("; "));
  note("wide", document.documentElement.scrollWidth > window.innerWidth);
});
</script>"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Run the browser on a page; returns its output and its messages."""
    profile = tmp_path_factory.mktemp("profile")

    def run(page: Path, *options: str) -> tuple[str, str]:
        assert BROWSER is not None
        fixed = (
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--enable-logging=stderr", "--window-size=1000,3000", "--virtual-time-budget=5000",
            f"--user-data-dir={profile}",
        )  # fmt: skip
        done = subprocess.run(
            [BROWSER, *fixed, *options, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout, done.stderr

    return run


@pytest.fixture
def report(recording: Path, run_replay, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("drop", "depth", 1, 1.5), Fault("black", "rgb", 2.6, 3)])
    run_replay(
        recording,
        faults=faults,
        topics={"truth": "/truth/mask"},
        without_fallback=True,
        without_faults=True,
        consistency=True,
        criteria=(Criterion.parse("miou >= 0.1"), Criterion.parse("masks_lost > 0")),
        out=tmp_path / "out",
    )
    return tmp_path / "out" / "report.html"


def test_the_page_has_no_error_and_its_film_moves(report: Path, browse, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    probed = tmp_path / "probed.html"
    probed.write_text(report.read_text().replace("<head>", f"<head>{PROBE}", 1))
    dom, messages = browse(probed, "--dump-dom")
    assert "CONSOLE" not in messages
    root = re.search(r"<html[^>]*>", dom)
    assert root is not None
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', root[0]))
    assert "error" not in found
    assert found["shown"].startswith("0010")
    assert found["shown"].count("1") == 1
    assert found["text"] == found["caption"] != ""
    # The verdict is told by words, not by color alone.
    assert found["verdict"] == "Verdict: failed"
    assert found["results"] == "✓ met; ✗ not met; ✓ met"
    assert (found["reachable"], found["broken"], found["wide"]) == ("true", "0", "false")


def test_a_script_error_would_be_found(report: Path, browse, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    probed = tmp_path / "probed.html"
    text = report.read_text().replace("<head>", f"<head>{PROBE}", 1)
    probed.write_text(text.replace('querySelectorAll(".film")', "missing()"))
    dom, messages = browse(probed, "--dump-dom")
    assert "CONSOLE" in messages
    assert "data-error" in dom


@pytest.mark.parametrize(
    "options", [(), ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")]
)
def test_a_screenshot_shows_the_charts(report: Path, browse, tmp_path: Path, options) -> None:  # type: ignore[no-untyped-def]
    browse(report, f"--screenshot={tmp_path / 'page.png'}", *options)
    image = cv2.imread(str(tmp_path / "page.png"))
    assert image.shape == (3000, 1000, 3)
    assert (image[:, :20].mean() < 80) == bool(options)  # the page's background is dark or light
    for color in ("43b58c", "6db3e8", "eea13c"):  # the three networks in the timeline
        bgr = [int(color[i : i + 2], 16) for i in (4, 2, 0)]
        assert np.all(image == bgr, axis=2).sum() > 500


def test_it_can_be_printed(report: Path, browse, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    browse(report, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
