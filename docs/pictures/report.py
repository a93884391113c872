"""Makes report.png, a picture of a page of `rfcalc report`, with Chromium: `python docs/pictures/report.py`."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from rfcalc import analyze
from rfcalc.page import page

HERE = Path(__file__).parent
STATE = "#layer=inception3a%2Fcat&unit=%2C%2C1%2C20&pixel=60,60"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)


def main() -> None:
    """Write a page to a folder of its own and take its picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.html")
        path.write_text(page([analyze("googlenet")]), encoding="utf-8")
        options = [*FLAGS, "--window-size=1280,1180", "--virtual-time-budget=4000"]
        profile, target = f"--user-data-dir={folder}/profile", f"--screenshot={HERE / 'report.png'}"
        subprocess.run(["chromium", *options, profile, target, path.as_uri() + STATE], check=True, timeout=60)


if __name__ == "__main__":
    main()
