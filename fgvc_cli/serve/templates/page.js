"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const facts = JSON.parse(one("#facts").textContent);
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
  const make = (tag, text = "", more = {}) => Object.assign(document.createElement(tag), { textContent: text }, more);
  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
  const AT_ONCE = 3;
  const MOST_TRIES = 60;

  // A request; what is refused because the server is busy is sent again.
  const ask = async (address, options = {}) => {
    for (let tries = 1; ; tries += 1) {
      let answer;
      try {
        answer = await fetch(address, options);
      } catch {
        throw new Error("the server does not answer: is fgvc serve still running?");
      }
      if (answer.ok) return answer;
      const told = await answer.json().catch(() => ({}));
      if (answer.status !== 429 || tries >= MOST_TRIES) throw new Error(told.error ?? `status ${answer.status}`);
      await pause(Number(answer.headers.get("Retry-After") ?? 1));
    }
  };
  const askJson = async (address, options) => (await ask(address, options)).json();
  const imageAddress = (id, rest = "") => `/api/images/${id}${rest}`;

  // ---- answers

  const answers = one("#answers");
  const known = new Map(); // id → its element and what decides its place
  let order = "uncertain";
  let count = 0;
  const before = { uncertain: (a, b) => b.uncertainty - a.uncertainty, newest: (a, b) => b.number - a.number };

  // Only the new element is moved, so that the focus stays where it is.
  const place = (entry) => {
    const later = all("#answers > li").find((item) => {
      const other = [...known.values()].find((each) => each.element === item);
      return other && other !== entry && before[order](entry, other) < 0;
    });
    answers.insertBefore(entry.element, later ?? null);
    one("#nothing").hidden = true;
  };
  const sort = () => answers.append(...[...known.values()].sort(before[order]).map((entry) => entry.element));
  for (const button of all("[data-order]")) {
    button.addEventListener("click", () => {
      order = button.dataset.order;
      all("[data-order]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      sort();
    });
  }

  const isUnknown = (answer) => Boolean(answer.known && !answer.known.known);
  const mark = (answer) => {
    if (isUnknown(answer)) return "it seems to be of no known class";
    if (answer.unsure) return "none is likely enough";
    return answer.taxon ? `(${answer.taxon.level})` : "";
  };
  const guessRow = (guess) => {
    const row = make("tr");
    const meter = make("meter", "", { min: 0, max: 1, value: guess.probability });
    meter.setAttribute("aria-hidden", "true");
    const bar = make("td");
    bar.append(meter);
    row.append(make("th", guess.class, { scope: "row" }), make("td", percent(guess.probability), { className: "number" }), bar);
    return row;
  };
  const neighbour = (near) => {
    const item = make("li");
    const words = `${near.class ?? "?"}, distance ${near.distance.toFixed(3)}`;
    item.append(make("img", "", { src: `/api/training/${near.training}/thumbnail`, alt: "", loading: "lazy" }), make("span", words));
    return item;
  };

  const explain = async (item, id, kind, words, query = {}) => {
    const box = one(".why", item);
    box.replaceChildren(make("span", "drawing …"));
    const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
    try {
      const picture = await (await ask(imageAddress(id, `/why/${kind}?${given}`))).blob();
      const data = await new Promise((done) => {
        const reader = new FileReader();
        reader.addEventListener("load", () => done(reader.result));
        reader.readAsDataURL(picture);
      });
      box.replaceChildren(make("img", "", { src: data, alt: words }));
    } catch (error) {
      box.replaceChildren(make("p", error.message));
    }
  };
  const reasons = (item, answer) => {
    const [first, second] = answer.top;
    const form = one(".rather", item);
    one(".reasons", item).setAttribute("aria-label", `Why ${first.class}?`);
    form.hidden = !facts.versus;
    one(".reasons", item).hidden = !facts.versus && !facts.kinds.length;
    if (second) {
      one("button", form).textContent = `what speaks for ${first.class}`;
      const rival = one("input", form);
      rival.placeholder = second.class;
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const words = `What speaks for ${first.class} rather than ${rival.value || second.class}`;
        explain(item, answer.id, "versus", words, { against: rival.value });
      });
    }
    for (const { kind, words } of facts.kinds) {
      const button = make("button", words, { type: "button", className: "button" });
      button.addEventListener("click", () => explain(item, answer.id, kind, `${words}: why ${first.class}`));
      one(".kinds", item).append(button);
    }
  };

  const correct = (item, answer) => {
    const form = one(".correct", item);
    const field = one("input", form);
    const undo = one(".undo", form);
    const said = one("output", form);
    const show = (correction) => {
      undo.hidden = !correction;
      said.textContent = correction ? `recorded: ${correction.class ?? "none of these"}` : "";
    };
    const send = async (method, body) => {
      try {
        const options = { method, body, headers: body ? { "Content-Type": "application/json" } : {} };
        const given = await ask(imageAddress(answer.id, "/correction"), options);
        show(method === "PUT" ? await given.json() : null);
        if (method !== "PUT") field.focus();
        counted();
      } catch (error) {
        said.textContent = error.message;
      }
    };
    const put = (name) => send("PUT", JSON.stringify({ class: name }));
    one(".right", form).textContent = `It is ${answer.top[0].class}`;
    one(".right", form).addEventListener("click", () => put(answer.top[0].class));
    one(".none", form).addEventListener("click", () => put(null));
    undo.addEventListener("click", () => send("DELETE"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      put(field.value);
    });
    show(answer.correction);
  };

  const add = (answer) => {
    known.get(answer.id)?.element.remove();
    const item = one("#answer").content.firstElementChild.cloneNode(true);
    one("h3", item).textContent = answer.name || "image";
    one(".own", item).src = imageAddress(answer.id, "/thumbnail");
    one(".own", item).alt = answer.name;
    one(".file", item).textContent = `${answer.width} × ${answer.height} pixels`;
    one(".said", item).textContent = answer.answer;
    one(".share", item).textContent = answer.unsure || isUnknown(answer) ? "" : percent((answer.taxon ?? answer.top[0]).probability);
    one(".mark", item).textContent = mark(answer);
    one(".guesses tbody", item).append(...answer.top.map(guessRow));
    one(".near", item).append(...answer.neighbours.map(neighbour));
    one(".likes", item).hidden = !answer.neighbours.length;
    reasons(item, answer);
    correct(item, answer);
    count += 1;
    const entry = { element: item, uncertainty: answer.uncertainty, number: count };
    known.set(answer.id, entry);
    place(entry);
  };

  // ---- images

  const status = one("#status");
  const problem = (text) => one("#problems").append(make("li", text));
  const waiting = [];
  let busy = 0;
  let asked = 0;
  let done = 0;
  const send = async (file) => {
    const name = file.name.slice(-facts.limits.name);
    try {
      if (file.size > facts.limits.bytes) throw new Error(`over the limit of ${facts.limits.bytes / 1e6} MB`);
      const options = { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } };
      add(await askJson(`/api/images?${new URLSearchParams({ name })}`, options));
    } catch (error) {
      problem(`${name}: ${error.message}`);
    }
    done += 1;
    status.textContent = `${done} of ${asked} images answered`;
  };
  const work = async () => {
    busy += 1;
    while (waiting.length) await send(waiting.shift());
    busy -= 1;
  };
  const take = (files) => {
    const taken = files.slice(0, facts.limits.images);
    if (taken.length < files.length) problem(`${files.length - taken.length} images are over the limit of ${taken.length} at once`);
    if (!taken.length) status.textContent = "no image was found there";
    if (!busy) [asked, done] = [0, 0];
    asked += taken.length;
    waiting.push(...taken);
    if (taken.length) status.textContent = `${done} of ${asked} images answered`;
    for (let worker = busy; worker < AT_ONCE; worker += 1) work();
  };

  const isImage = (name) => !name.startsWith(".") && facts.endings.some((ending) => name.toLowerCase().endsWith(ending));
  const below = async (entry) => {
    if (entry.isFile) return [await new Promise((found, lost) => entry.file(found, lost))];
    const reader = entry.createReader();
    const entries = [];
    for (;;) {
      const some = await new Promise((found, lost) => reader.readEntries(found, lost));
      if (!some.length) break;
      entries.push(...some.filter((each) => each.isDirectory || isImage(each.name)));
    }
    return (await Promise.all(entries.map(below))).flat();
  };
  const dropped = async (transfer) => {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    return entries.length ? (await Promise.all(entries.map(below))).flat() : [...transfer.files];
  };
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    try {
      take(await dropped(event.dataTransfer));
    } catch {
      problem("what was dropped cannot be read");
    }
  });
  for (const field of all("#files, #folder")) {
    field.addEventListener("change", () => {
      const files = [...field.files];
      take(field.id === "folder" ? files.filter((file) => isImage(file.name)) : files);
      field.value = "";
    });
  }

  // ---- corrections

  const counted = async () => {
    one("#corrected").textContent = String((await askJson("/api/corrections")).length);
  };
  one("#retrain").addEventListener("click", async () => {
    const box = one("#retraining");
    try {
      const found = await askJson("/api/retrain", { method: "POST" });
      const table = found.images ? `a table of ${found.images} images is written` : "";
      const own = found.own ? `${found.own} of the corrections mend labels of its own images` : "";
      const none = found.left_out ? `${found.left_out} images of none of the classes are left out` : "";
      const words = [found.note, table, own, none].filter(Boolean).join("; ");
      const command = make("pre", found.command, { tabIndex: 0 });
      command.setAttribute("aria-label", "Command");
      box.replaceChildren(command, make("p", words));
    } catch (error) {
      box.replaceChildren(make("p", error.message));
    }
  });

  // What the server still keeps, after the page is loaded again.
  (async () => {
    try {
      (await askJson("/api/images")).reverse().forEach(add);
      await counted();
    } catch (error) {
      problem(error.message);
    }
  })();
})();
