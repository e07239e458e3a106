// The form of a row, and the answers to it.

import { predict } from "./api.js";
import { el, on } from "./dom.js";
import { shown } from "./results.js";

const READERS = {
  text: (given) => given,
  lines: lines,
  choices: lines,
  message: (given) => [{ role: "user", content: given }],
  json: (given, column) => {
    try {
      return JSON.parse(given);
    } catch (error) {
      throw new Error(`${column} is not valid JSON: ${error.message}`);
    }
  },
};

function lines(given) {
  return given.split("\n").map((line) => line.trim()).filter(Boolean);
}

// The place of words in a text, in characters as Python counts them.
function place(text, words, at, column) {
  const found = at !== undefined && text.startsWith(words, at) ? at : text.indexOf(words);
  if (found < 0) throw new Error(`the words of ${column} are not in the text`);
  const start = [...text.slice(0, found)].length;
  return { start, end: start + [...words].length };
}

export function row(form) {
  const found = {};
  const text = form.querySelector('.field[data-kind="text"] textarea')?.value ?? "";
  for (const field of form.querySelectorAll(".field")) {
    const { column, kind } = field.dataset;
    const input = field.querySelector("textarea, input");
    if (!input.value.trim() && !input.required) continue;
    const at = input.dataset.at === undefined ? undefined : Number(input.dataset.at);
    found[column] = kind === "span" ? place(text, input.value, at, column) : READERS[kind](input.value, column);
  }
  return found;
}

function takeSelection(form, field) {
  const text = form.querySelector('.field[data-kind="text"] textarea');
  const input = field.querySelector("input");
  const { selectionStart: start, selectionEnd: end } = text;
  input.value = text.value.slice(start, end);
  input.dataset.at = start;
  if (start === end) text.focus();
}

async function answer(model, given) {
  try {
    const [found] = await predict(model, [given], true);
    return found;
  } catch (error) {
    return { problem: { detail: error.message } };
  }
}

function card(model, given, found) {
  const { id, ...rest } = found;
  const raw = el("details", {}, el("summary", {}, "As JSON"), el("pre", {}, JSON.stringify(rest, null, 1)));
  return el("article", { class: "answer card", "aria-label": `Answer of ${model}` }, el("h2", {}, model), shown(given, found), raw);
}

export function startRow(section, schema) {
  const form = section.querySelector("form.row");
  const answers = section.querySelector(".answers");
  const button = form.querySelector("button:not([type])");
  on(form, ".take", "click", (event) => takeSelection(form, event.target.closest(".field")));
  on(form, "input", "input", (event) => delete event.target.dataset.at);
  submitByKey(form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const given = row(form);
      const names = [schema.model, form.querySelector(".other")?.value].filter(Boolean);
      const found = await Promise.all(names.map((name) => answer(name, given)));
      answers.replaceChildren(...found.map((one, i) => card(names[i], given, one)), ...agreement(found));
    } catch (error) {
      answers.replaceChildren(el("p", { class: "problem" }, error.message));
    }
    button.disabled = false;
  });
}

function agreement(found) {
  if (found.length < 2 || found.some((one) => one.problem)) return [];
  const [first, second] = found.map((one) => JSON.stringify(plain(one.prediction)));
  return [el("p", { class: "agreement" }, first === second ? "The answers agree." : "The answers differ.")];
}

// A prediction without what differs between any two models.
function plain(prediction) {
  if (!Array.isArray(prediction)) return prediction;
  return prediction.map((one) => (typeof one === "object" ? [one.label, one.start, one.end] : one));
}

export function submitByKey(form) {
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}
