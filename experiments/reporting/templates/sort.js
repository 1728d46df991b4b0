// Sorts the rows of a table by the column whose heading is pressed, within their groups; a second time the other way.
(() => {
  const NUMBER = /^[^\d+-]*([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)/i; // the first of a cell of numbers
  const ALONE = /^([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/i; // a name that is a number

  function value(row, column, numeric) {
    const text = row.cells[column].textContent.trim().replace(/[\u2011\u2212]/g, "-");
    const found = text.match(numeric ? NUMBER : ALONE);
    return found ? Number(found[1].replaceAll(",", "")) : text;
  }

  function compare(a, b) {
    if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
    return typeof a === "number" ? -1 : 1; // what is not known comes last
  }

  function sort(table, heading) {
    const column = heading.cellIndex;
    const numeric = heading.classList.contains("number");
    const sign = heading.ariaSort === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.ariaSort = other === heading ? (sign > 0 ? "ascending" : "descending") : null;
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.querySelector("th"));
      const values = new Map(rows.map((row) => [row, value(row, column, numeric)]));
      body.append(...rows.sort((a, b) => sign * compare(values.get(a), values.get(b))));
    }
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "sort by this column";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, heading));
    }
  }
})();
