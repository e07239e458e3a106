"""Pictures of the page of `ftlit serve`, one for each task, for docs/serving.md.

    python -m experiments.serving.pictures                      # all; runs that have finished are not trained again
    python -m experiments.serving.pictures squad conll2003      # some

Each picture has a short run of its own, with a part of the data of the experiment of the same name. Chromium must be at
/usr/bin/chromium (Debian: `apt-get install chromium`), and playwright be installed (`pip install -e ".[dev]"`).
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import ftlit
from ftlit.runs.reading import RunFolder
from tests.support.browser import Tab, browser, listening
from tests.support.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

RUNS, PICTURES = Path("runs/pictures"), Path("docs/pictures")
SHORT = ("--trainer.max_epochs", "1", "--test_after_fit", "false", "--data.limit_validation", "200")
LARGEST = 60_000  # bytes
WIDTH = 640  # pixels
COLORS = 64  # of a picture


@dataclass(frozen=True)
class Picture:
    """A picture of an answer.

    Args:
        options: Options that shorten the experiment of the same name.
        row: What is filled in, by column.
        said: A message to a model that converses.
    """

    options: tuple[str, ...]
    row: dict[str, str] = field(default_factory=dict)
    said: str | None = None


CONTEXT = (
    "The Amazon rainforest covers most of the Amazon basin of South America. The majority of the forest is contained within "
    "Brazil, with 60% of the rainforest, followed by Peru with 13%, and Colombia with 10%."
)
CHOICES = "bank\nlibrary\ndepartment store\nmall\nnew york"
PICTURES_OF = {
    "sst2": Picture(("--data.limit_train", "3000"), {"sentence": "A warm and clever film that never loses its way."}),
    "go_emotions": Picture(
        ("--data.limit_train", "16000", "--trainer.max_epochs", "2"),
        {"text": "Thank you so much, I love this! I did not expect it at all."},
    ),
    "stsb": Picture((), {"sentence1": "A man is playing a guitar.", "sentence2": "A man plays the guitar."}),
    "conll2003": Picture(
        ("--data.limit_train", "3000"),
        {"tokens": "Angela Merkel met officials of the United Nations in New York before Germany played Brazil in Berlin ."},
    ),
    "semeval2010_task8": Picture(
        ("--trainer.max_epochs", "3"),
        {"text": "The fire in the old barn was caused by lightning.", "head": "fire", "tail": "lightning"},
    ),
    "squad": Picture(
        ("--data.limit_train", "3500", "--trainer.max_epochs", "2"),
        {"question": "Where is the majority of the forest?", "context": CONTEXT},
    ),
    "commonsense_qa": Picture(
        ("--data.limit_train", "3000"),
        {
            "question": "A revolving door is convenient, but it also serves as a security measure at a what?",
            "choices": CHOICES,
        },
    ),
    "multi30k": Picture(
        (
            "--trainer.max_time",
            "00:00:05:00",
        ),
        {"de": "Ein Mann in einem roten Hemd spielt Gitarre."},
    ),
    "alpaca_smollm2": Picture(
        ("--data.limit_train", "60", "--evaluate_untrained", "false"), said="Name three fruits that are red."
    ),
}


def run_of(name: str) -> Path:
    """The run of a picture, which is trained if it has not finished."""
    folder = RUNS / name
    if not RunFolder(folder).finished:
        options = ("--run_dir", str(folder), "--overwrite", *SHORT, *PICTURES_OF[name].options)
        subprocess.run([sys.executable, "-m", "ftlit", "fit", "--config", f"experiments/{name}.yaml", *options], check=True)
    return folder


def answered(tab: Tab, picture: Picture) -> "Locator":
    """What is in the picture, once the model has answered."""
    page = tab.open()
    if picture.said:
        page.fill(".say textarea", picture.said)
        page.get_by_role("button", name="Send").click()
        page.wait_for_selector(".say button:has-text('Send'):enabled", timeout=120_000)
        return page.locator(".chat")
    for column, value in picture.row.items():
        page.locator(f".field[data-column='{column}']").locator("textarea, input").fill(value)
    page.get_by_role("button", name="Predict", exact=True).click()
    page.wait_for_selector(".answer")
    page.evaluate("document.querySelector('form.file').remove()")
    return page.locator("main")


def take(name: str, chromium: "Browser") -> None:
    """Write the picture of a task."""
    path = PICTURES / f"{name}.png"
    with serving({name: ftlit.load(run_of(name))}) as server, listening(server.app) as address:
        tab = Tab(chromium, address, viewport={"width": WIDTH, "height": 800})
        answered(tab, PICTURES_OF[name]).screenshot(path=path)
        tab.check()
        tab.close()
    Image.open(path).convert("RGB").quantize(COLORS).save(path, optimize=True)
    assert path.stat().st_size < LARGEST, f"{path} has {path.stat().st_size} bytes"
    print(path, path.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(PICTURES_OF), help="experiments")
    names = parser.parse_args().names
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in names:
        run_of(name)
    with browser() as chromium:
        for name in names:
            take(name, chromium)


if __name__ == "__main__":
    main()
