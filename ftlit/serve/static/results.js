// Answers as readers see them. Which form an answer has, and not the name of a task, decides how it is shown.

import { el, number, percent } from "./dom.js";

const MOST = 12; // bars
const HUES = 8; // colours of labels, in page.css

export function shown(row, answer) {
  const cut = answer.truncated ? el("p", { class: "hint" }, "The text was longer than the model reads, and was cut.") : null;
  return el("div", { class: "shown" }, ...parts(row, answer), cut);
}

function parts(row, answer) {
  const { prediction, scores } = answer;
  if (answer.problem) return [el("p", { class: "problem" }, answer.problem.detail)];
  if (answer.abstained) return [chosen("no answer: the model is not sure enough"), Array.isArray(scores) ? null : bars(scores)];
  if (Array.isArray(prediction) && Array.isArray(answer.words)) return words(row, answer);
  if (Array.isArray(prediction)) return [labels(prediction), bars(scores)];
  if (typeof prediction === "number") return [el("p", { class: "value" }, number(prediction))];
  if (Array.isArray(answer.tokens)) return [written(prediction), bars(pairs(answer.tokens, answer.score))];
  if (Array.isArray(scores) && typeof answer.index === "number") return [choices(row, answer)];
  if (Array.isArray(scores) && "start" in answer) return quoted(row, answer);
  if (scores && typeof scores === "object") return [chosen(prediction), ...related(row), best(bars(scores), 0)];
  return [written(prediction)];
}

function written(text) {
  return el("p", { class: "written" }, text === "" ? "(no text)" : text);
}

function chosen(label) {
  return el("p", { class: "value" }, label);
}

function labels(names) {
  if (!names.length) return el("p", { class: "value" }, "no label");
  return el("ul", { class: "labels" }, ...names.map((name) => el("li", {}, name)));
}

function pairs(names, values) {
  return names.map((name, i) => [name, values[i]]);
}

export function bars(scores) {
  const sorted = Array.isArray(scores) ? scores : Object.entries(scores || {}).sort((a, b) => b[1] - a[1]);
  if (!sorted.length) return null;
  const rest = sorted.slice(MOST);
  const more = rest.length ? el("details", {}, el("summary", {}, `${rest.length} more`), table(rest)) : null;
  return el("div", {}, table(sorted.slice(0, MOST)), more);
}

function table(entries) {
  return el("table", { class: "bars" }, el("tbody", {}, ...entries.map(([name, value]) => bar(name, value))));
}

function bar(name, value) {
  const fill = el("i", {});
  fill.style.width = `${100 * Math.min(Math.max(value, 0), 1)}%`;
  const cells = [el("td", {}, el("span", { class: "bar" }, fill)), el("td", { class: "share" }, percent(value))];
  return el("tr", {}, el("th", { scope: "row" }, name), ...cells);
}

// Parts of a text that are marked. Places count characters as Python does.
export function marked(text, spans) {
  const characters = [...text];
  const found = [];
  let at = 0;
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    if (span.start < at) continue;
    found.push(characters.slice(at, span.start).join(""));
    const inner = characters.slice(span.start, span.end).join("");
    const label = span.label === undefined ? null : el("span", { class: "label" }, span.label);
    found.push(el("mark", { class: `hue${span.hue ?? 0}`, title: span.title }, inner, label));
    at = span.end;
  }
  return el("p", { class: "text" }, ...found, characters.slice(at).join(""));
}

function textOf(row) {
  return Object.values(row).map((value) => (Array.isArray(value) ? value.join(" ") : value)).find((value) => typeof value === "string") ?? "";
}

function words(row, answer) {
  const { prediction } = answer;
  const spans = prediction.length && typeof prediction[0] === "object";
  if (spans || answer.tags) {
    const hue = hues(prediction.map((one) => one.label));
    const title = (one) => (one.score === undefined ? undefined : percent(one.score));
    const marks = prediction.map((one) => ({ ...one, hue: hue.get(one.label), title: title(one) }));
    const none = prediction.length ? null : el("p", { class: "hint" }, "No entity was found.");
    return [marked(textOf(row), marks), none];
  }
  const hue = hues(prediction);
  const tagged = answer.words.map((word, i) => el("mark", { class: `hue${hue.get(prediction[i])}` }, word, el("span", { class: "label" }, prediction[i])));
  return [el("p", { class: "text" }, ...tagged.flatMap((word) => [word, " "]))];
}

function hues(names) {
  return new Map([...new Set(names)].sort().map((name, i) => [name, i % HUES]));
}

function quoted(row, answer) {
  const context = Object.values(row).filter((value) => typeof value === "string").at(-1) ?? "";
  if (!answer.prediction) return [el("p", { class: "value" }, "no answer"), marked(context, [])];
  const others = answer.scores.filter((one) => one.prediction).map((one) => [one.prediction, one.score]);
  const more = el("details", {}, el("summary", {}, "Other answers"), bars(others));
  return [chosen(answer.prediction), marked(context, [{ start: answer.start, end: answer.end, title: percent(answer.score) }]), more];
}

function choices(row, answer) {
  const cell = Object.values(row).find((value) => Array.isArray(value) || Array.isArray(value?.text));
  const names = cell ? (cell.text ?? cell) : Object.values(row).slice(-answer.scores.length);
  return el("div", {}, chosen(answer.prediction), best(bars(pairs(names, answer.scores)), answer.index));
}

// Bars of which one is marked.
function best(list, index) {
  list?.querySelectorAll("tr")[index]?.classList.add("best");
  return list;
}

function related(row) {
  const spans = Object.entries(row).filter(([, value]) => value && typeof value === "object" && "start" in value);
  return spans.length ? [marked(textOf(row), spans.map(([label, span], i) => ({ ...span, label, hue: i })))] : [];
}
