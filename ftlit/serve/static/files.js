// A file up, predictions down: rows are sent in pieces that the server answers well within its time.

import { predict } from "./api.js";
import { el, on } from "./dom.js";
import { delimited, readDelimited, readJsonl } from "./formats.js";

const FIRST = 16; // rows of the first piece
const TRIES = 20; // of a piece while the server is busy
const DELIMITERS = { csv: ",", tsv: "\t" };
const KINDS = { csv: "text/csv", tsv: "text/tab-separated-values", jsonl: "application/jsonl" };
const encoder = new TextEncoder();

export function rowsOf(name, text, schema) {
  const delimiter = DELIMITERS[formatOf(name)];
  const given = delimiter ? readDelimited(text, delimiter) : readJsonl(text);
  const found = given.map((row, i) => ({ id: row.id ?? i, ...chosen(row, schema, i) }));
  if (!found.length) throw new Error("the file has no rows");
  return found;
}

function formatOf(name) {
  const ending = name.replace(/^.*\./, "").toLowerCase();
  return ending in KINDS ? ending : "jsonl";
}

function chosen(row, schema, i) {
  const missing = schema.required.find((column) => !(column in row));
  if (missing) throw new Error(`row ${i + 1} has no column '${missing}'; it has ${Object.keys(row).join(", ") || "none"}`);
  return Object.fromEntries(Object.keys(schema.columns).filter((name) => name in row).map((name) => [name, row[name]]).map(typed(schema)));
}

// A cell of a csv or tsv file is a text; where the column holds something else, it may be written as JSON.
function typed(schema) {
  return ([name, value]) => {
    const kinds = (schema.columns[name].anyOf ?? [schema.columns[name]]).map((one) => one.type);
    if (typeof value !== "string" || kinds.every((kind) => kind === "string") || !/^\s*[[{]/.test(value)) return [name, value];
    try {
      return [name, JSON.parse(value)];
    } catch {
      return [name, value];
    }
  };
}

// The next rows that fit into a request.
function piece(rows, begin, size, limits) {
  let bytes = 2;
  let end = begin;
  while (end < rows.length && end - begin < size) {
    bytes += encoder.encode(JSON.stringify(rows[end])).length + 1;
    if (bytes > limits.bytes && end > begin) break;
    end += 1;
  }
  return rows.slice(begin, end);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(new DOMException("stopped", "AbortError"))));
  });
}

function problems(some, error) {
  return some.map((row, i) => ({ id: row.id, problem: error.errors[i] ?? { detail: error.message } }));
}

// The answers to a piece, or null if it must be sent in smaller parts.
async function answered(model, some, scores, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await predict(model, some, scores, signal);
    } catch (error) {
      const busy = [429, 503].includes(error.status) && tries < TRIES;
      if (busy) await pause(Math.min(error.after, 10), signal);
      else if ([413, 504].includes(error.status)) return some.length > 1 ? null : problems(some, error);
      else if ([422, 500].includes(error.status)) return problems(some, error);
      else throw error;
    }
  }
}

export async function predictAll(rows, schema, scores, signal, tell) {
  const { model, limits } = schema;
  let size = Math.min(FIRST, limits.rows);
  let done = 0;
  while (done < rows.length) {
    const some = piece(rows, done, size, limits);
    const began = performance.now();
    const found = await answered(model, some, scores, signal);
    if (found === null) {
      size = Math.max(1, Math.floor(some.length / 2));
      continue;
    }
    done += found.length;
    tell(found, done);
    if (performance.now() - began < (1000 * limits.seconds) / 8) size = Math.min(2 * size, limits.rows);
  }
}

function save(name, content, kind) {
  const address = URL.createObjectURL(new Blob([content], { type: kind }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

export function startFile(form, schema) {
  const part = (selector) => form.querySelector(selector);
  const [progress, state, downloads, stop] = ["progress", ".state", ".downloads", ".stop"].map(part);
  let [found, name, running] = [[], "", null];
  const show = (done, total, began) => {
    const wrong = found.filter((one) => one.problem).length;
    const speed = done / Math.max((performance.now() - began) / 1000, 0.001);
    progress.value = done / total;
    const counted = `${done.toLocaleString("en")} of ${total.toLocaleString("en")} rows, ${Math.round(speed).toLocaleString("en")} a second`;
    state.textContent = wrong ? `${counted}; ${wrong.toLocaleString("en")} with a problem` : counted;
  };
  const predictFile = async (file) => {
    const rows = rowsOf(file.name, await file.text(), schema);
    const began = performance.now();
    progress.hidden = false;
    await predictAll(rows, schema, part("[name=scores]").checked, running.signal, (some, done) => {
      for (const one of some) found.push(one);
      show(done, rows.length, began);
    });
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = part("input[type=file]").files[0];
    [found, name, running] = [[], file.name.replace(/\.[^.]*$/, ""), new AbortController()];
    downloads.hidden = progress.hidden = true;
    state.textContent = "";
    state.classList.remove("problem");
    stop.hidden = false;
    try {
      await predictFile(file);
    } catch (error) {
      state.classList.toggle("problem", error.name !== "AbortError");
      state.textContent = error.name === "AbortError" ? `Stopped after ${found.length} rows.` : error.message;
    }
    stop.hidden = true;
    downloads.hidden = !found.length;
    downloads.prepend(part(`[data-format=${formatOf(file.name)}]`)); // the format of the file comes first
  });
  stop.addEventListener("click", () => running.abort());
  on(downloads, "button", "click", ({ target: { dataset: { format } } }) => {
    const lines = found.map((one) => `${JSON.stringify(one)}\n`);
    const content = format in DELIMITERS ? delimited(found, DELIMITERS[format]) : lines.join("");
    save(`${name}.predictions.${format}`, content, KINDS[format]);
  });
}
