// Keeps the parts of the page fresh and sends its small forms without leaving the page. The page works without it.
"use strict";

const POLL_MS = 1000;
const last = new WeakMap();

async function refresh(part) {
  const answer = await fetch(part.dataset.part);
  if (!answer.ok) return;
  const html = await answer.text();
  if (last.get(part) === html) return;
  const first = !last.has(part);
  last.set(part, html);
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...part.querySelectorAll("details[open]")].map((details) => details.id);
  const scroller = part.querySelector(".bubbles");
  const follows = !scroller || scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
  const kept = scroller ? scroller.scrollTop : 0;
  part.innerHTML = html; // rendered and escaped by the simulator
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus();
  const fresh = part.querySelector(".bubbles");
  if (fresh) fresh.scrollTop = first || follows ? fresh.scrollHeight : kept;
}

async function refreshAll() {
  if (document.hidden) return;
  try {
    await Promise.all([...document.querySelectorAll("[data-part]")].map(refresh));
    document.body.classList.remove("is-away");
  } catch {
    document.body.classList.add("is-away"); // the simulator has stopped; it is asked again at the next turn
  }
}

// The chosen file is named where its caption is written.
function nameFile(form) {
  const file = form.elements.file.files[0];
  const words = form.elements.body;
  words.dataset.words ??= words.placeholder;
  words.placeholder = file ? `Send ${file.name}, perhaps with a text` : words.dataset.words;
  form.classList.toggle("has-file", Boolean(file));
}

document.addEventListener("change", (event) => {
  if (event.target.matches(".composer [type=file]")) nameFile(event.target.form);
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-quiet]")) return;
  event.preventDefault();
  const data = new FormData(form, event.submitter);
  const body = form.enctype === "multipart/form-data" ? data : new URLSearchParams(data);
  try {
    await fetch(form.action, { method: "POST", body });
    if (form.matches(".composer")) {
      form.reset();
      nameFile(form);
    }
  } finally {
    await refreshAll();
  }
});

(async function poll() {
  await refreshAll();
  setTimeout(poll, POLL_MS);
})();
