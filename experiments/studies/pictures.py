"""Write the figures of a study's report as SVG files, for pages that show them alone.

python -m experiments.studies.pictures experiments/results/studies/ag_news
"""

import re
import sys
from pathlib import Path

FIGURE = re.compile(r"(<svg.*?</svg>)\s*<figcaption>([^:,<]*)", re.DOTALL)
PAGE = {"currentColor": "#1d1f23", "var(--rule)": "#d9dbdf"}  # the colours that figures take from their page


def write_pictures(folder: Path) -> list[Path]:
    """Write each figure of ``report.html`` next to it, named by its title."""
    written = []
    for drawing, title in FIGURE.findall((folder / "report.html").read_text("utf-8")):
        for placeholder, color in PAGE.items():
            drawing = drawing.replace(placeholder, color)
        width, height = (float(size) for size in re.findall(r'viewBox="0 0 (\S+) (\S+)"', drawing)[0])
        size = f'width="{4 / 3 * width:.0f}" height="{4 / 3 * height:.0f}"'
        written.append(folder / f"{re.sub(r'[^a-z0-9]+', '_', title.lower()).strip('_')}.svg")
        written[-1].write_text(
            drawing.replace("<svg ", f'<svg {size} style="background: white; font-family: sans-serif" ', 1) + "\n", "utf-8"
        )
    return written


if __name__ == "__main__":
    for picture in write_pictures(Path(sys.argv[1])):
        print(f"wrote {picture}")
