"use strict";
const find = id => document.getElementById(id);
const search = find("search");
if (search) {
  const [words, kind, state] = ["words", "kind", "state"].map(find);
  const rows = Array.from(document.querySelectorAll("#list tbody tr"), row => ({
    row, text: Array.from(row.cells, cell => cell.textContent).join(" ").toLowerCase(),
  }));
  // With more at a time a browser is slow to follow what is typed.
  let most = 500;
  const narrow = () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    let found = 0;
    for (const { row, text } of rows) {
      const fits = [
        ["", row.dataset.kind].includes(kind.value),
        ["", row.dataset.state].includes(state.value),
        wanted.every(word => text.includes(word)),
      ].every(Boolean);
      found += fits;
      row.hidden = !fits || found > most;
    }
    find("more").hidden = most >= found;
    const first = found > most ? `, the first ${most} shown` : "";
    find("shown").textContent = found ? `${found} of ${rows.length} failures${first}` : "No failure matches.";
  };
  const given = new URLSearchParams(location.hash.slice(1));
  for (const field of [words, kind, state]) {
    if (given.has(field.id)) field.value = given.get(field.id);
    field.addEventListener("input", narrow);
  }
  find("more").addEventListener("click", () => {
    most = Infinity;
    narrow();
  });
  // The browser may fill the fields in again when the reader comes back.
  addEventListener("pageshow", narrow);
  search.hidden = false;
  narrow();
}
