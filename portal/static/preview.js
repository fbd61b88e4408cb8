// Shows a notice as the client will read it while it is being written. Without this script the page shows where the words go.
const words = document.getElementById("body");
const preview = document.getElementById("preview");

// As `as_sentence` in portal/sending.py.
function asSentence(text) {
  const line = text.trim().replace(/\s+/g, " ");
  return /[\p{L}\p{N}]$/u.test(line) ? `${line}.` : line;
}

function show() {
  preview.textContent = asSentence(words.value) || "…";
}

words.addEventListener("input", show);
show(); // What the browser has kept of a reloaded page.
