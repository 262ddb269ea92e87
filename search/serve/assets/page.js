/* Sends photos one after the other to /classify. Texts only ever become text nodes. */
"use strict";
(() => {
  const drop = document.getElementById("drop"), files = document.getElementById("files");
  const answers = document.getElementById("answers");
  const MOST_CLASSES = 5;
  let maxBytes = Infinity;
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  fetch("/title").then((answer) => answer.json()).then((told) => {
    maxBytes = told.max_bytes;
    document.title = `${told.title} – carsearch`;
    document.getElementById("model").textContent = told.title;
  });

  const ask = async (file) => {
    if (file.size > maxBytes) throw new Error(`larger than ${Math.round(maxBytes / 2 ** 20)} MiB`);
    const answer = await fetch("/classify", { method: "POST", body: file });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    return told.classes;
  };

  const classRow = ({ name, probability }) => {
    const row = element("li"), bar = element("meter");
    bar.value = probability;
    bar.setAttribute("aria-hidden", "true");
    row.append(element("span", "", name), bar, element("span", "share", `${(100 * probability).toFixed(1)} %`));
    return row;
  };

  const show = async (file) => {
    const answer = element("article", "answer"), words = element("div"), photo = element("img");
    const note = element("p", "soft", "…");
    photo.alt = "";
    photo.src = URL.createObjectURL(file);
    photo.addEventListener("load", () => URL.revokeObjectURL(photo.src));
    words.append(element("p", "", file.name), note);
    answer.append(photo, words);
    answers.prepend(answer);
    try {
      const list = element("ol");
      list.append(...(await ask(file)).slice(0, MOST_CLASSES).map(classRow));
      note.replaceWith(list);
    } catch (error) {
      note.textContent = `cannot be classified: ${error.message}`;
    }
  };

  let queue = Promise.resolve();
  const take = (list) => {
    for (const file of list) queue = queue.then(() => show(file));
  };
  files.addEventListener("change", () => {
    take([...files.files]);
    files.value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") take([...event.dataTransfer.files]);
    });
})();
