// Shows a rule's words as they are being chosen. Without this script the button "Show the words" does.
const form = document.getElementById("rule");
const reading = document.getElementById("reading");
const WAIT_MS = 350;
let timer = 0;
let asked = 0;

async function show() {
  const mine = ++asked;
  const body = new FormData(form);
  body.set("do", "show");
  try {
    const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const words = page.getElementById("reading");
    if (words && mine === asked) reading.replaceChildren(...words.childNodes);
  } catch {
    // Away for a moment: the words stay as they were, and the next change asks again.
  }
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(show, WAIT_MS);
});
