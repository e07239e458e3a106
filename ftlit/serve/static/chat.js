// A conversation, whose replies are streamed by /v1/chat/completions.

import { post } from "./api.js";
import { el } from "./dom.js";
import { submitByKey } from "./form.js";

const STREAM = "/v1/chat/completions";

// The data of server-sent events, of which a piece of the response may hold several, or a part of one.
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split(/\r?\n/);
    rest = done ? "" : lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    if (done) return;
  }
}

async function* streamed(body, signal) {
  const response = await post(STREAM, { ...body, stream: true }, signal);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const found = JSON.parse(data);
    if (found.error) throw new Error(found.error.message);
    yield found.choices?.[0]?.delta?.content ?? "";
  }
}

function turn(list, role, content) {
  const text = el("p", { class: "written" }, content);
  list.append(el("li", { class: role }, el("span", { class: "who" }, role === "user" ? "You" : "Model"), text));
  text.scrollIntoView({ block: "nearest" });
  return text;
}

function settings(chat, schema, messages) {
  const value = (name) => chat.querySelector(`[name=${name}]`).value.trim();
  const system = value("system") ? [{ role: "system", content: value("system") }] : [];
  const numbers = ["temperature", "max_tokens"].filter((name) => value(name) !== "").map((name) => [name, Number(value(name))]);
  return { model: schema.model, messages: [...system, ...messages], ...Object.fromEntries(numbers) };
}

export function startChat(chat, schema) {
  const part = (selector) => chat.querySelector(selector);
  const [list, form, input, stop, send] = [".turns", ".say", "[name=message]", ".stop", ".say button:not([type])"].map(part);
  let messages = [];
  let running = null;
  const answer = async (text) => {
    const content = await collected(streamed(settings(chat, schema, messages), running.signal), text);
    messages.push({ role: "assistant", content });
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    messages.push({ role: "user", content: input.value });
    turn(list, "user", input.value);
    const text = turn(list, "assistant", "");
    input.value = "";
    [stop.hidden, send.disabled] = [false, true];
    try {
      await answer(text);
    } catch (error) {
      ended(messages, text, error);
    }
    [stop.hidden, send.disabled, running] = [true, false, null];
    input.focus();
  });
  submitByKey(form);
  stop.addEventListener("click", () => running?.abort());
  part(".new").addEventListener("click", () => {
    running?.abort();
    messages = [];
    list.replaceChildren();
    input.focus();
  });
}

async function collected(pieces, text) {
  for await (const piece of pieces) text.append(piece);
  return text.textContent;
}

// After a stop, the conversation goes on with what has come; after an error, without the message that had no reply.
function ended(messages, text, error) {
  if (error.name === "AbortError" && text.textContent) {
    messages.push({ role: "assistant", content: text.textContent });
    text.after(el("p", { class: "hint" }, "stopped"));
    return;
  }
  messages.pop();
  text.after(el("p", { class: "problem" }, error.name === "AbortError" ? "stopped" : error.message));
}
