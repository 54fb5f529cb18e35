"use strict";
// Shows a row at a time, keeps what is ticked in localStorage, and gives it as review.json. The page's HTML is the only
// state beside that: what is saved is read off it, and what was saved is put back into it.
(() => {
  const main = document.getElementById("rows");
  const rows = [...main.querySelectorAll("article")];
  const store = "tunelock-review:" + main.dataset.answers;
  const byId = (id) => document.getElementById(id);
  const boxes = (row, side) => [...row.querySelectorAll(`input[name="${side}"]`)];
  const choices = (row) => [...row.querySelectorAll("input[type=radio]")];
  const chosen = (row) => choices(row).find((choice) => choice.checked)?.value ?? null;
  const notes = (row) => row.querySelector("textarea");
  let at = 0;

  function ticksOf(row) {
    const ticked = (side) => boxes(row, side).filter((box) => box.checked).map((box) => box.value);
    return { preference: chosen(row), notes: notes(row).value, a: ticked("a"), b: ticked("b") };
  }

  function all() {
    const entries = rows.map((row) => [row.dataset.id, ticksOf(row)]);
    const touched = entries.filter(([, t]) => t.preference || t.notes || t.a.length || t.b.length);
    return { format: main.dataset.format, answers: main.dataset.answers, rows: Object.fromEntries(touched) };
  }

  function restore(saved) {
    for (const row of rows) {
      const ticks = Object.hasOwn(saved.rows, row.dataset.id) ? saved.rows[row.dataset.id] : null;
      if (!ticks) continue;
      for (const side of ["a", "b"]) for (const box of boxes(row, side)) box.checked = ticks[side].includes(box.value);
      for (const choice of choices(row)) choice.checked = choice.value === ticks.preference;
      notes(row).value = ticks.notes;
    }
  }

  function tell(text) {
    byId("notice").textContent = text;
    byId("notice").hidden = false;
  }

  function keep() {
    try {
      localStorage.setItem(store, JSON.stringify(all()));
    } catch {
      tell("This browser does not keep the ticks: download them before you close the page.");
    }
    show();
  }

  function show() {
    const done = rows.filter(chosen).length;
    rows.forEach((row, place) => {
      row.hidden = place !== at;
      for (const side of row.querySelectorAll(".side")) side.classList.toggle("chosen", side.dataset.side === chosen(row));
    });
    byId("progress").value = done;
    byId("done").textContent = `${done} of ${rows.length} judged`;
    byId("back").disabled = at === 0;
    byId("next").disabled = at === rows.length - 1;
  }

  function go(place) {
    at = Math.min(rows.length - 1, Math.max(0, place));
    show();
    scrollTo(0, 0);
  }

  function nextOpen() {
    const open = [...rows.keys()].map((i) => (at + 1 + i) % rows.length).find((place) => !chosen(rows[place]));
    if (open !== undefined) go(open);
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(all(), null, 2) + "\n"], { type: "application/json" }));
    link.download = "review.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function choose(value) {
    choices(rows[at]).find((choice) => choice.value === value).checked = true;
    keep();
  }

  function tick(number, side) {
    const given = boxes(rows[at], side);
    const some = number === 0 ? given : given.slice(number - 1, number);
    const on = some.some((box) => !box.checked);
    for (const box of some) box.checked = on;
    keep();
  }

  const keys = {
    KeyA: () => choose("a"), KeyB: () => choose("b"), KeyT: () => choose("tie"), KeyN: nextOpen, KeyD: download,
    ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea")) return;
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
    // Letters by what is written on the key, digits by where it is: Shift makes other signs of them.
    const action = keys[/^[a-z]$/i.test(event.key) ? "Key" + event.key.toUpperCase() : event.code];
    if (digit) tick(Number(digit[1]), event.shiftKey ? "b" : "a");
    else if (action) action();
    else return;
    event.preventDefault();
  });
  main.addEventListener("input", keep);
  byId("back").addEventListener("click", () => go(at - 1));
  byId("next").addEventListener("click", () => go(at + 1));
  byId("save").addEventListener("click", download);

  try {
    const saved = localStorage.getItem(store);
    if (saved) restore(JSON.parse(saved));
  } catch {
    tell("What was kept in this browser cannot be read; the page starts afresh.");
  }
  byId("how").open = !rows.some(chosen);
  go(Math.max(0, rows.findIndex((row) => !chosen(row))));
})();
