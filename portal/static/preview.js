// Shows a message as the client will read it while it is being written, and how long it is. Without this script a page says
// where the words go, and shows what a reminder says with a document and without one.
const words = document.getElementById("body");
const preview = document.getElementById("preview");
const count = document.getElementById("count");
const file = document.querySelector("input[type=file]");

// As `as_sentence` in portal/sending.py.
function asSentence(text) {
  const line = text.trim().replace(/\s+/g, " ");
  return /[\p{L}\p{N}]$/u.test(line) ? `${line}.` : line;
}

function showWords() {
  if (preview) preview.textContent = asSentence(words.value) || "…";
  count.textContent = `${words.value.length} of ${words.maxLength} characters`;
  count.hidden = false;
}

function showVariant() {
  document.getElementById("with-document").hidden = !file.files.length;
  document.getElementById("without-document").hidden = file.files.length > 0;
}

// At once too: the browser keeps what was typed and chosen on a reloaded page.
if (words) {
  words.addEventListener("input", showWords);
  showWords();
}
if (file) {
  file.addEventListener("change", showVariant);
  showVariant();
}
