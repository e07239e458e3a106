// Pages of the studio: curves of a run that is running, and reports.

import { page } from "./api.js";
import { parsed } from "./dom.js";

const EVERY = 3000; // milliseconds

async function follow(found) {
  while (found.isConnected && found.hasAttribute("data-live")) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (document.hidden) continue;
    try {
      const next = document.adoptNode(parsed(await page(found.dataset.curves)).getElementById("curves"));
      found.replaceWith(next);
      found = next;
    } catch {
      continue; // the server may be away for a moment
    }
  }
}

// A report has a style of its own, so it is shown in a frame, which may run nothing. Its links to its parts name the frame.
async function showReport(frame) {
  frame.srcdoc = (await page(frame.dataset.report)).replaceAll('<a href="#', '<a href="about:srcdoc#');
}

export function startStudio() {
  document.querySelectorAll("[data-live]").forEach(follow);
  document.querySelectorAll("iframe[data-report]").forEach(showReport);
}
