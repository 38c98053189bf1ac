"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  // Tables: a heading's button sorts by its column, and a second click reverses the order. Empty values stay last.
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };
  const sort = (table, heading) => {
    const column = heading.cellIndex;
    const number = heading.classList.contains("number");
    const before = heading.getAttribute("aria-sort");
    const order = before === "ascending" || (!before && number) ? "descending" : "ascending";
    all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (number ? x - y : x.localeCompare(y, undefined, { numeric: true }));
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  };
  for (const table of all("table.sortable")) {
    for (const heading of all("thead th", table)) {
      heading.querySelector("button").addEventListener("click", () => sort(table, heading));
    }
  }

  // A search field filters the rows of the table, or the cards of the gallery, that follow it.
  const finder = (tools, things, words) => {
    const state = { text: "", kind: "" };
    const show = () => {
      const shown = things.filter((thing) => {
        const fits = words(thing).includes(state.text) && (!state.kind || thing.classList.contains(state.kind));
        thing.hidden = !fits;
        return fits;
      });
      tools.querySelector("output").textContent = `${shown.length} of ${things.length} shown`;
    };
    tools.querySelector(".find").addEventListener("input", (event) => {
      state.text = event.target.value.trim().toLowerCase();
      show();
    });
    const buttons = all("[data-show]", tools);
    for (const button of buttons) {
      button.addEventListener("click", () => {
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
        state.kind = button.dataset.show;
        show();
      });
    }
  };
  for (const tools of all(".tools")) {
    const list = tools.nextElementSibling;
    if (list.classList.contains("cards")) finder(tools, all(".card", list), (card) => card.dataset.words);
    else finder(tools, all("tbody tr", list), (row) => row.cells[0].textContent.toLowerCase());
  }

  const heat = document.getElementById("heat");
  heat.addEventListener("change", () => document.body.classList.toggle("bare", !heat.checked));

  // Charts: the legend shows the values of the epoch under the pointer, or the last values.
  for (const chart of all(".chart")) {
    const lines = JSON.parse(chart.querySelector("script").textContent);
    const svg = chart.querySelector("svg");
    const [left, right, first, last] = ["left", "right", "first", "last"].map((name) => Number(svg.dataset[name]));
    const axis = svg.dataset.axis;
    const keys = all(".key b", chart);
    const cursor = svg.querySelector(".cursor");
    const say = (when, entries) => {
      chart.querySelector(".epoch").textContent = when;
      entries.forEach((entry, i) => (keys[i].textContent = entry ? entry[1] : "–"));
    };
    const tell = (epoch) => {
      const x = left + ((epoch - first) / Math.max(last - first, 1)) * (right - left);
      cursor.setAttribute("d", `M${x} 8V${svg.viewBox.baseVal.height - 28}`);
      say(`${axis} ${epoch}`, lines.map((line) => line.find(([at]) => at === epoch)));
    };
    const rest = () => {
      const ends = lines.map((line) => line.at(-1));
      cursor.setAttribute("d", "");
      say(ends.every(([at]) => at === last) ? `${axis} ${last}` : "at the end", ends);
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const epoch = Math.round(first + ((x - left) / (right - left)) * (last - first));
      tell(Math.min(Math.max(epoch, first), last));
    });
    svg.addEventListener("pointerleave", rest);
    rest();
  }

  // The confusion matrix: the classes and the count of the selected cell.
  for (const holder of all(".matrix")) {
    const { classes, cells } = JSON.parse(holder.querySelector("script").textContent);
    const svg = holder.querySelector("svg");
    const here = svg.querySelector(".here");
    const readout = holder.nextElementSibling;
    const size = classes.length;
    const side = Number(svg.dataset.cell);
    const counts = new Map(cells.map(([t, p, n]) => [t * size + p, n]));
    const totals = new Array(size).fill(0);
    cells.forEach(([t, , n]) => (totals[t] += n));
    let at = [0, 0];
    const tell = (t, p) => {
      at = [t, p] = [t, p].map((place) => Math.min(Math.max(place, 0), size - 1));
      const count = counts.get(t * size + p) ?? 0;
      const share = totals[t] ? ` (${((100 * count) / totals[t]).toFixed(1)} %)` : "";
      const what = t === p ? "predicted correctly" : `predicted as ${classes[p]}`;
      readout.textContent = `${classes[t]} ${what}: ${count} of ${totals[t]} images${share}`;
      here.setAttribute("x", p * side);
      here.setAttribute("y", t * side);
      here.setAttribute("visibility", "visible");
    };
    const point = (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const [t, p] = [Math.floor(place.y / side), Math.floor(place.x / side)];
      if (t >= 0 && p >= 0 && t < size && p < size) tell(t, p);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    svg.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      tell(at[0] + move[0], at[1] + move[1]);
    });
  }

  addEventListener("beforeprint", () => all("details").forEach((part) => (part.open = true)));
})();
