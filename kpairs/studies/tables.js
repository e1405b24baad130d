"use strict";
// Tables that answer at a glance: sorted by a click on a column's head, the verdict coloured, long
// ones folded away, and a shade where there is more to scroll to. Without script all is there too.

const LONG = 30; // rows
const LONG_TEXT = 45; // letters
const number = (text) => parseFloat(text.replace(/[,\u2212]/g, (c) => (c === "," ? "" : "-")));

function sortBy(table, column, head) {
  const falling = head.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const body = table.tBodies[0], key = (row) => row.cells[column].textContent.trim();
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [number(key(a)), number(key(b))];
    return Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
  });
  body.append(...(falling ? rows.reverse() : rows));
}

// A shade at the right edge for as long as there is more of it.
function hint(box) {
  const shade = () => box.classList.toggle(
    "more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  box.addEventListener("scroll", shade);
  new ResizeObserver(shade).observe(box);
}

function improve(table) {
  let box = table.closest(".scroll");
  if (!box) {
    box = Object.assign(document.createElement("div"), { className: "scroll" });
    table.before(box);
    box.append(table);
  }
  box.tabIndex = 0;
  hint(box);
  for (const cell of table.querySelectorAll("td")) {
    cell.classList.toggle("long", cell.textContent.length > LONG_TEXT);
  }
  [...table.querySelectorAll("thead th")].forEach((head, column) => {
    head.addEventListener("click", () => sortBy(table, column, head));
    if (head.textContent.trim() !== "verdict") return;
    for (const row of table.tBodies[0].rows) {
      row.cells[column].classList.add("verdict", row.cells[column].textContent.trim().split(" ")[0]);
    }
  });
  const count = table.tBodies[0]?.rows.length ?? 0;
  if (count > LONG) {
    const details = Object.assign(document.createElement("details"), { className: "rows" });
    details.append(Object.assign(document.createElement("summary"),
      { textContent: `All ${count} rows (a click on a column's head sorts them)` }));
    box.before(details);
    details.append(box);
  }
}

document.querySelectorAll("table").forEach(improve);
document.querySelectorAll("figure").forEach(hint);
