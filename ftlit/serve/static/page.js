// What the pages do: ask for the token, show one model at a time, and start the parts of a page.

import { page, token } from "./api.js";
import { startChat } from "./chat.js";
import { parsed } from "./dom.js";
import { startFile } from "./files.js";
import { startRow } from "./form.js";
import { startStudio } from "./studio.js";

function startModels() {
  const models = [...document.querySelectorAll("section.model")];
  const choice = document.getElementById("model");
  const show = () => models.forEach((one) => (one.hidden = one.id !== `model-${choice.value}`));
  if (choice) {
    choice.addEventListener("change", show);
    show(); // a browser may keep the choice when the page is loaded again
  }
  for (const section of models) {
    const schema = JSON.parse(section.dataset.schema);
    startRow(section, schema);
    startFile(section.querySelector("form.file"), schema);
    const chat = section.querySelector(".chat");
    if (chat) startChat(chat, schema);
  }
}

function startSignIn() {
  const form = document.getElementById("sign-in");
  const problem = form.querySelector(".problem");
  const open = async () => {
    try {
      const found = parsed(await page(location.href));
      document.title = found.title;
      document.body.replaceWith(document.adoptNode(found.body));
      start();
    } catch (error) {
      if (error.status === 401) token.forget();
      problem.textContent = error.status === 401 ? "This is not the token of the server." : error.message;
      problem.hidden = false;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token.set(form.querySelector("input").value.trim());
    open();
  });
  if (token.get()) open();
}

function start() {
  const forget = document.getElementById("forget");
  forget.hidden = !token.get();
  forget.addEventListener("click", () => {
    token.forget();
    location.reload();
  });
  if (document.getElementById("sign-in")) startSignIn();
  startModels();
  startStudio();
}

start();
