"use strict";
// Sorting, filtering and copying. The page is whole without this.
(() => {
  const number = (text) => {
    const found = text.replace("−", "-").match(/^[-+]?\d+(\.\d+)?(?=$|[\s%])/);
    return found ? Number(found[0]) : NaN;
  };

  // Numbers by size, texts by the alphabet; what is empty comes last in either direction.
  const compare = (one, other, up) => {
    const [a, b] = [one.trim(), other.trim()];
    const [empty, none] = [a === "" || a === "—", b === "" || b === "—"];
    if (empty || none) return empty - none;
    const [x, y] = [number(a), number(b)];
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    return up ? order : -order;
  };

  const sort = (button) => {
    const head = button.closest("th");
    const place = [...head.parentNode.children].indexOf(head);
    const body = head.closest("table").tBodies[0];
    const first = place === 0 ? "ascending" : "descending"; // of scores one wants the highest on top
    const second = first === "ascending" ? "descending" : "ascending";
    const wanted = head.getAttribute("aria-sort") === first ? second : first;
    for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", wanted);
    const text = (row) => row.cells[place].textContent;
    [...body.rows]
      .sort((a, b) => compare(text(a), text(b), wanted === "ascending"))
      .forEach((row) => body.append(row));
  };

  const filter = (input) => {
    const words = input.value.toLowerCase().split(/\s+/);
    const rows = [...document.querySelectorAll("#runs-table tbody tr")];
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      const part = document.getElementById(row.querySelector("a").hash.slice(1));
      part.hidden = row.hidden;
    }
    const left = rows.filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = `${left} of ${rows.length} runs`;
  };

  const copy = (button) => {
    const code = button.parentNode.querySelector("code");
    const selected = getSelection();
    selected.selectAllChildren(code);
    const say = (text) => {
      button.textContent = text;
      setTimeout(() => (button.textContent = "copy"), 1500);
    };
    // A page opened from disk may not be allowed to: the text is then selected, for the keyboard to copy.
    const copied = navigator.clipboard ? navigator.clipboard.writeText(code.textContent) : Promise.reject();
    copied.then(() => say("copied"), () => say("selected"));
  };

  // The target of a link, and all that it lies in, is opened.
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  };

  for (const button of document.querySelectorAll("button.sort")) button.addEventListener("click", () => sort(button));
  for (const button of document.querySelectorAll("button.copy")) button.addEventListener("click", () => copy(button));
  const input = document.getElementById("filter");
  if (input) input.addEventListener("input", () => filter(input));
  addEventListener("hashchange", open);
  open();

  // Where a table is wider than the page, that is said.
  const measure = () => {
    for (const box of document.querySelectorAll(".wide")) {
      box.previousElementSibling.hidden = box.scrollWidth <= box.clientWidth;
    }
  };
  addEventListener("resize", measure);
  measure();

  // On paper every table's detail is there; the runs stay as they are on the screen.
  const closed = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("section > details:not(.run), .verdict details")) {
      if (!part.open) closed.push(part);
      part.open = true;
    }
  });
  addEventListener("afterprint", () => {
    while (closed.length) closed.pop().open = false;
  });
})();
