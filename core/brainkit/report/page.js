"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const at = (id) => document.getElementById(id);
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const text = button.previousElementSibling.textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(button.previousElementSibling);
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }

  // A drawing leaves the page with the colours it has here.
  const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight", "text-anchor"];
  const drawn = (svg) => {
    const copy = svg.cloneNode(true);
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    copy.setAttribute("width", 4 * width);
    copy.setAttribute("height", 4 * height);
    const parts = copy.querySelectorAll("*");
    svg.querySelectorAll("*").forEach((part, place) => {
      const style = getComputedStyle(part);
      for (const name of KEPT) parts[place].setAttribute(name, style.getPropertyValue(name));
    });
    const paper = document.createElementNS(svg.namespaceURI, "rect");
    const [x, y] = svg.getAttribute("viewBox").split(" ");
    for (const [name, value] of Object.entries({ x, y, width, height, fill: getComputedStyle(document.body).backgroundColor })) paper.setAttribute(name, value);
    copy.prepend(paper);
    return new XMLSerializer().serializeToString(copy);
  };
  const save = (uri, name) => {
    const link = document.createElement("a");
    link.href = uri;
    link.download = name;
    link.click();
  };
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", async () => {
      const svg = button.closest("figure").querySelector("svg");
      const name = svg.getAttribute("aria-label").split(":")[0].replace(/\W+/g, "-").replace(/^-|-$/g, "");
      const uri = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(drawn(svg))}`;
      if (button.dataset.save === "svg") return save(uri, `${name}.svg`);
      const picture = new Image();
      picture.src = uri;
      await picture.decode();
      const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
      canvas.getContext("2d").drawImage(picture, 0, 0);
      save(canvas.toDataURL("image/png"), `${name}.png`);
    });
  }

  const { names, better, rows } = JSON.parse(at("numbers").textContent);
  if (!names.length) return;
  const cards = [...at("cards").children];
  const lines = [...at("table").tBodies[0].rows];
  const heads = [...at("table").tHead.rows[0].cells];
  const texts = cards.map((card, row) => {
    const said = [...card.querySelectorAll(".captions, figcaption span")];
    return [rows[row][0], ...said.map((part) => part.textContent)].join(" ").toLowerCase();
  });
  const state = { key: 0, first: true };

  // Column 0 is the image id, which counts up; "first" means best first, or the lowest id first.
  const descends = (key, first) => (key > 0 && better[key - 1]) === first;
  const ranked = (key, first) => {
    const sign = descends(key, first) ? -1 : 1;
    const value = (row) => rows[row][key];
    return rows.map((_, row) => row).sort((a, b) => {
      if (value(a) === null || value(b) === null) return (value(a) === null) - (value(b) === null);
      return sign * (value(a) - value(b)) || a - b;
    });
  };

  const showPicks = (key) => {
    const order = ranked(key, true).filter((row) => rows[row][key] !== null);
    if (!at("picks") || order.length < 3) return;
    const chosen = [order[0], order[Math.floor(order.length / 2)], order[order.length - 1]];
    at("picked-by").textContent = names[key - 1];
    at("picks").replaceChildren(...chosen.map((row, place) => {
      const copy = cards[row].cloneNode(true);
      copy.removeAttribute("id");
      copy.hidden = false;
      const label = document.createElement("span");
      label.className = "pick";
      label.textContent = ["Best", "Median", "Worst"][place];
      copy.querySelector("h3").prepend(label, " ");
      return copy;
    }));
  };

  // All words have to occur; bounds are of the score that sorts, which an undefined value leaves.
  const fits = (row) => {
    const words = at("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [low, high] = [at("low").value, at("high").value];
    const value = rows[row][state.key];
    if (!words.every((word) => texts[row].includes(word))) return false;
    if (value === null) return low === "" && high === "";
    return (low === "" || value >= Number(low)) && (high === "" || value <= Number(high));
  };
  const filter = () => {
    let count = 0;
    rows.forEach((_, row) => {
      const here = fits(row);
      count += here;
      cards[row].hidden = lines[row].hidden = !here;
    });
    const all = count === rows.length;
    at("nothing").hidden = count > 0;
    at("shown").textContent = all ? `All ${count} images` : `${count} of ${rows.length} images`;
    return all ? "" : `${count} of ${rows.length}`;
  };

  const show = () => {
    const { key, first } = state;
    const order = ranked(key, first);
    at("cards").append(...order.map((row) => cards[row]));
    at("table").tBodies[0].append(...order.map((row) => lines[row]));
    heads.forEach((head, column) => {
      if (column !== key) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", descends(key, first) ? "descending" : "ascending");
    });
    if (key > 0) showPicks(key);
    at("key").value = String(key);
    const words = key > 0 ? ["best first", "worst first"] : ["lowest first", "highest first"];
    at("order").textContent = words[first ? 0 : 1];
    at("order").setAttribute("aria-label", `${words[first ? 0 : 1]}: reverse the order`);
    for (const item of document.querySelectorAll(".numbers .current")) item.classList.remove("current");
    if (key > 0) {
      for (const item of document.querySelectorAll(`.numbers > :nth-child(${key})`)) item.classList.add("current");
    }
  };
  const sortBy = (key, first) => {
    if (key !== state.key) at("low").value = at("high").value = "";
    state.key = key;
    state.first = first;
    show();
    const by = `Sorted by ${key > 0 ? names[key - 1] : "image id"}, ${at("order").textContent}`;
    at("said").textContent = [filter(), by].filter(Boolean).join(". ");
  };

  at("key").addEventListener("change", (event) => sortBy(Number(event.target.value), true));
  at("order").addEventListener("click", () => sortBy(state.key, !state.first));
  for (const id of ["words", "low", "high"]) {
    at(id).addEventListener("input", () => (at("said").textContent = filter()));
  }
  at("clear").addEventListener("click", () => {
    for (const id of ["words", "low", "high"]) at(id).value = "";
    at("said").textContent = filter();
    at("words").focus();
  });
  for (const button of document.querySelectorAll("[data-key]")) {
    const key = Number(button.dataset.key);
    button.addEventListener("click", () => sortBy(key, key === state.key ? !state.first : true));
  }
  show();
})();
