/* The page's charts and tables. Data are in #data, see search/report/chart_data.py. Texts only ever become text nodes. */
"use strict";
(() => {
  const source = document.getElementById("data");
  const page = source ? JSON.parse(source.textContent) : { trials: {}, charts: {} };
  const drawn = [];
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  /* Numbers as text */
  const trim = (value) => String(Number(value.toPrecision(3)));
  const timeSteps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const seconds = (value) =>
    value < 60 ? `${trim(value)} s` : value < 3600 ? `${trim(value / 60)} min` : `${trim(value / 3600)} h`;
  const units = {
    share: (value) => value.toFixed(4),
    s: seconds,
    ms: (value) => `${trim(value)} ms`,
    int: (value) => String(Math.round(value)),
    lane: () => "",
  };
  const tickUnits = { ...units, share: (value) => String(Number(value.toFixed(3))), ms: trim };
  const format = (axis, value, table) =>
    axis.categories && axis.categories.length ? axis.categories[Math.round(value)] ?? "" : (table[axis.unit] ?? trim)(value);

  /* Colours come from the page's style, so that they follow the theme */
  const colours = new Map();
  const colour = (name) => {
    if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888");
    return colours.get(name);
  };
  const mix = (share) => `color-mix(in oklab, ${colour("winner")} ${Math.round(100 * share ** 3)}%, ${colour("stopped")})`;

  /* Times get round minutes and hours; other numbers 1, 2, 5 if few fit, else powers of ten */
  const logTicks = (low, high, unit) => {
    if (unit === "s" && high / low < 500) return spread(timeSteps.filter((value) => value >= low && value <= high), 5);
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
    const inside = (values) => values.filter((value) => value >= low && value <= high);
    const tens = inside(found.filter((_, at) => at % 3 === 0));
    if (inside(found).length <= 6) return inside(found);
    return tens.length > 1 ? tens : inside(found);
  };

  const spread = (values, most) => values.filter((_, at) => at % Math.ceil(values.length / most) === 0);

  const ranges = (spec) => {
    const points = spec.groups.flatMap((group) => group.items.flatMap((item) => item.p ?? []));
    const span = (at) => {
      const values = points.map((point) => point[at]);
      const low = Math.min(...values), high = Math.max(...values), margin = 0.09 * (high - low || 0.1);
      return [low - margin, high + margin];
    };
    return [spec.x.range ?? span(0), spec.y.range ?? span(1)];
  };

  class Chart {
    constructor(place, spec) {
      this.place = place;
      this.spec = spec;
      this.hidden = new Set();
      this.focus = null;
      this.canvasBox = element("div", "canvas");
      place.append(this.canvasBox);
      if (new Set(spec.groups.map((group) => group.name)).size > 1 && !spec.small) this.legend();
      this.canvasBox.tabIndex = 0;
      this.canvasBox.setAttribute("role", "img");
      this.canvasBox.setAttribute("aria-label", `${spec.label}. Arrow keys step through the points.`);
      this.build();
      this.listen();
    }

    get width() {
      return Math.max(220, this.canvasBox.clientWidth);
    }

    get height() {
      return this.spec.height ?? (this.spec.small ? 190 + (this.spec.x.scale === "category" ? 36 : 0) : Math.max(240, Math.min(420, 0.46 * this.width)));
    }

    legend() {
      const bar = element("div", "legend");
      for (const name of new Set(this.spec.groups.map((group) => group.name))) {
        const group = this.spec.groups.find((one) => one.name === name);
        const button = element("button", "", name);
        const mark = element("i");
        mark.style.background = group.colour === "rank" ? colour("winner") : `var(--${group.colour})`;
        button.prepend(mark);
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        button.addEventListener("click", () => {
          const off = !this.hidden.delete(name);
          if (off) this.hidden.add(name);
          button.setAttribute("aria-pressed", String(!off));
          this.redraw();
        });
        bar.append(button);
      }
      this.place.prepend(bar);
    }

    axis(spec, side, range) {
      const log = spec.scale === "log", narrow = this.width < 420;
      const categories = spec.categories && spec.categories.length ? spec.categories : null;
      const crowded = categories && categories.reduce((sum, text) => sum + text.length + 2, 0) * 6.6 > this.width - 60;
      const cut = (text) => (text.length > 16 ? `${text.slice(0, 15)}…` : text);
      return {
        side,
        stroke: colour("soft"),
        font: "12px system-ui, sans-serif",
        labelFont: "12px system-ui, sans-serif",
        label: this.spec.small && side === 3 ? undefined : spec.label,
        labelSize: 18,
        labelGap: 2,
        size: side === 3 ? (spec.unit === "lane" ? 12 : 46) : crowded ? 72 : 28,
        rotate: crowded ? -35 : 0,
        gap: 4,
        space: side === 3 ? 34 : narrow || this.spec.small ? 52 : 70,
        grid: { stroke: colour("line"), width: 1, show: spec.unit !== "lane" },
        ticks: { show: false },
        ...(spec.unit === "s" && !log ? { incrs: timeSteps } : {}),
        filter: (_, splits) => splits, // uPlot would drop labels of logarithmic axes
        splits: categories ? () => categories.map((_, at) => at) : log ? () => logTicks(...range, spec.unit) : undefined,
        values: (_, splits) =>
          splits.map((value) =>
            categories ? cut(categories[value] ?? "") : spec.unit === "int" && value % 1 ? "" : format(spec, value, tickUnits)),
      };
    }

    build() {
      const [xs, ys] = ranges(this.spec);
      this.canvasBox.replaceChildren();
      this.u = new uPlot(
        {
          width: this.width,
          height: this.height,
          legend: { show: false },
          cursor: { show: false },
          scales: {
            x: { time: false, distr: this.spec.x.scale === "log" ? 3 : 1, range: () => xs },
            y: { range: () => ys },
          },
          axes: [this.axis(this.spec.x, 2, xs), this.axis(this.spec.y, 3, ys)],
          series: [{}, { paths: () => null, points: { show: false } }],
          hooks: { draw: [(u) => this.paint(u)] },
        },
        [xs, ys],
        this.canvasBox,
      );
      this.over = element("canvas", "over");
      this.u.over.append(this.over);
    }

    shown() {
      return this.spec.groups.filter((group) => !this.hidden.has(group.name));
    }

    at(u, point, canvas) {
      return [u.valToPos(point[0], "x", canvas), u.valToPos(point[1], "y", canvas)];
    }

    paint(u) {
      const { ctx } = u, ratio = devicePixelRatio || 1;
      ctx.save();
      ctx.beginPath();
      ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      ctx.clip();
      this.paintBorders(ctx, u, ratio);
      const many = this.spec.groups.reduce((sum, group) => sum + group.items.length, 0) > 60;
      for (const group of this.shown())
        for (const item of group.items) this.paintItem(ctx, group, item, (p) => this.at(u, p, true), ratio, { many });
      ctx.restore();
      this.hits = null;
    }

    paintBorders(ctx, u, ratio) {
      for (const [epoch, name] of this.spec.borders ?? []) {
        const x = u.valToPos(epoch, "x", true);
        ctx.strokeStyle = colour("soft");
        ctx.globalAlpha = 0.5;
        ctx.lineWidth = ratio;
        ctx.setLineDash([2 * ratio, 3 * ratio]);
        ctx.beginPath();
        ctx.moveTo(x, u.bbox.top);
        ctx.lineTo(x, u.bbox.top + u.bbox.height);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.globalAlpha = 1;
        ctx.fillStyle = colour("soft");
        ctx.font = `${11 * ratio}px system-ui, sans-serif`;
        ctx.textAlign = "right";
        ctx.fillText(name, x - 4 * ratio, u.bbox.top + u.bbox.height - 6 * ratio);
      }
    }

    paintItem(ctx, group, item, place, ratio, { many = false, loud = false } = {}) {
      const strong = loud || ["winner", "baseline"].includes(group.colour);
      ctx.strokeStyle = ctx.fillStyle = loud ? colour("ink") : group.colour === "rank" ? mix(item.q) : colour(group.colour);
      ctx.globalAlpha = strong ? 1 : many ? 0.5 : 0.75;
      ctx.lineWidth = (strong ? 2.2 : 1.2) * ratio;
      if (item.b) return this.paintBar(ctx, item.b, place);
      const points = item.p.map(place);
      if (group.kind === "line" || group.kind === "step") {
        ctx.beginPath();
        points.forEach(([x, y], at) => {
          if (at && group.kind === "step") ctx.lineTo(x, points[at - 1][1]);
          at ? ctx.lineTo(x, y) : ctx.moveTo(x, y);
        });
        ctx.stroke();
        for (const at of item.m ?? []) this.dot(ctx, points[at], (strong ? 3.6 : 2.2) * ratio);
        if (group.colour === "failed") this.cross(ctx, points.at(-1), 4 * ratio);
        return;
      }
      const size = (loud ? 6 : strong ? 5 : group.kind === "cloud" ? 1.6 : 3.4) * ratio;
      for (const point of points) this.dot(ctx, point, size, group.kind === "ring");
    }

    paintBar(ctx, [from, to, lane], place) {
      const [left, top] = place([from, lane + 0.38]), [right, bottom] = place([to, lane - 0.38]);
      ctx.fillRect(left, top, Math.max(2, right - left - 1), bottom - top);
    }

    dot(ctx, [x, y], size, hollow) {
      ctx.beginPath();
      ctx.arc(x, y, size, 0, 2 * Math.PI);
      hollow ? ctx.stroke() : ctx.fill();
    }

    cross(ctx, [x, y], size) {
      ctx.beginPath();
      ctx.moveTo(x - size, y - size);
      ctx.lineTo(x + size, y + size);
      ctx.moveTo(x + size, y - size);
      ctx.lineTo(x - size, y + size);
      ctx.stroke();
    }

    /* Places of all points in the plot's own pixels, from left to right */
    targets() {
      if (this.hits) return this.hits;
      this.hits = [];
      for (const group of this.shown())
        for (const item of group.items) {
          if (item.t === undefined && !item.x) continue;
          if (item.b) {
            const [left, top] = this.at(this.u, [item.b[0], item.b[2] + 0.38]);
            const [right, bottom] = this.at(this.u, [item.b[1], item.b[2] - 0.38]);
            this.hits.push({ x: (left + right) / 2, y: (top + bottom) / 2, box: [left, top, right, bottom], group, item, point: item.b });
          } else for (const point of item.p) {
            const [x, y] = this.at(this.u, point);
            this.hits.push({ x, y, group, item, point });
          }
        }
      return this.hits.sort((one, other) => one.x - other.x || one.y - other.y);
    }

    nearest(x, y) {
      let best = null, least = 28 ** 2;
      for (const hit of this.targets()) {
        const inside = hit.box && x >= hit.box[0] - 2 && x <= hit.box[2] + 2 && y >= hit.box[1] && y <= hit.box[3];
        const distance = inside ? 0 : hit.box ? Infinity : (hit.x - x) ** 2 + (hit.y - y) ** 2;
        if (distance < least) [best, least] = [hit, distance];
      }
      return best;
    }

    listen() {
      const box = () => this.u.over.getBoundingClientRect();
      const seek = (event) => {
        const own = box();
        this.show(this.nearest(event.clientX - own.left, event.clientY - own.top));
      };
      this.canvasBox.addEventListener("pointermove", seek);
      this.canvasBox.addEventListener("pointerdown", seek);
      this.canvasBox.addEventListener("pointerleave", () => this.show(null));
      this.canvasBox.addEventListener("blur", () => this.show(null));
      this.canvasBox.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], all = this.targets();
        if (event.key === "Escape") this.show(null);
        if (!step || !all.length) return;
        event.preventDefault();
        this.cursor = (((this.cursor ?? (step > 0 ? -1 : 0)) + step) % all.length + all.length) % all.length;
        this.show(all[this.cursor]);
      });
      let width = this.canvasBox.clientWidth;
      new ResizeObserver(() => {
        if (this.canvasBox.clientWidth === width) return;
        width = this.canvasBox.clientWidth;
        this.redraw();
      }).observe(this.canvasBox);
    }

    show(hit) {
      this.canvasBox.style.cursor = hit ? "crosshair" : "";
      if (!hit) {
        tip.hidden = true;
        highlight(null);
        return;
      }
      const trial = page.trials[hit.item.t];
      tip.replaceChildren();
      if (trial) {
        const head = element("b", "", trial.n);
        tip.append(head, ` ${trial.s}${trial.r === "other" ? "" : `, ${trial.r}`}`);
      } else if (Number.isInteger(hit.item.t)) tip.append(element("b", "", `Trial ${String(hit.item.t).padStart(4, "0")}`)); // not in the leaderboard
      tip.append(element("div", "", hit.item.x && !hit.item.b ? hit.item.x : this.valueText(hit)));
      if (trial && trial.p.length) tip.append(element("div", "params", trial.p.slice(0, 8).join(" · ")));
      tip.hidden = false;
      const own = this.u.over.getBoundingClientRect();
      const left = own.left + hit.x + 14, top = own.top + hit.y + 14;
      tip.style.left = `${Math.max(8, left + tip.offsetWidth > innerWidth - 8 ? left - tip.offsetWidth - 28 : left)}px`;
      tip.style.top = `${Math.max(8, top + tip.offsetHeight > innerHeight - 8 ? top - tip.offsetHeight - 28 : top)}px`;
      highlight(hit.item.t ?? null, this, hit);
    }

    valueText({ item, point, group }) {
      if (item.b) return `${item.x}: ${seconds(point[1] - point[0])}, from ${seconds(point[0])} to ${seconds(point[1])}`;
      const { x, y } = this.spec;
      return `${x.label} ${format(x, point[0], units)}, ${y.label} ${format(y, point[1], units)}${item.t === undefined ? ` (${group.name})` : ""}`;
    }

    mark(number, hit) {
      const ratio = devicePixelRatio || 1, ctx = this.over.getContext("2d");
      if (number === null && !hit && !this.marked) return;
      this.over.width = this.u.over.clientWidth * ratio;
      this.over.height = this.u.over.clientHeight * ratio;
      this.marked = number !== null || Boolean(hit);
      const place = (point) => this.at(this.u, point).map((value) => value * ratio);
      for (const group of number === null ? [] : this.shown())
        for (const item of group.items) if (item.t === number) this.paintItem(ctx, group, item, place, ratio, { loud: true });
      if (hit && !hit.item.b) {
        ctx.fillStyle = colour("ink");
        ctx.globalAlpha = 1;
        this.dot(ctx, [hit.x * ratio, hit.y * ratio], 4.5 * ratio);
      }
    }

    redraw() {
      colours.clear();
      this.build();
    }
  }

  class Parallel extends Chart {
    constructor(place, spec) {
      const axis = { label: "", unit: "lane" };
      super(place, { ...spec, x: { ...axis, range: [-0.35, spec.axes.length - 0.65] }, y: { ...axis, range: [-0.06, 1.06] } });
    }

    get height() {
      return 340;
    }

    get width() {
      return Math.max(this.canvasBox.clientWidth, 86 * this.spec.axes.length);
    }

    axis(spec, side) {
      return { show: true, side, size: side === 2 ? 40 : 6, splits: () => [], values: () => [], grid: { show: false }, ticks: { show: false } };
    }

    paint(u) {
      super.paint(u);
      const { ctx } = u, ratio = devicePixelRatio || 1;
      ctx.save();
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      this.spec.axes.forEach((axis, at) => {
        const x = u.valToPos(at, "x", true), low = u.valToPos(0, "y", true), high = u.valToPos(1, "y", true);
        ctx.strokeStyle = colour("soft");
        ctx.lineWidth = ratio;
        ctx.beginPath();
        ctx.moveTo(x, low);
        ctx.lineTo(x, high);
        ctx.stroke();
        ctx.textAlign = "center";
        ctx.lineJoin = "round";
        const write = (text, y, tone) => {
          ctx.strokeStyle = colour("paper");
          ctx.lineWidth = 4 * ratio;
          ctx.strokeText(text, x, y);
          ctx.fillStyle = colour(tone);
          ctx.fillText(text, x, y);
        };
        for (const [value, text] of axis.ticks)
          write(text.length > 13 ? `${text.slice(0, 12)}…` : text, u.valToPos(value, "y", true) + 4 * ratio, "ink");
        const words = axis.name.split(".");
        const lines = words.length > 1 ? [words.slice(0, -1).join("."), words.at(-1)] : words;
        lines.forEach((text, row) =>
          write(text.length > 14 ? `${text.slice(0, 13)}…` : text, low + (26 + 13 * row) * ratio, "soft"));
      });
      ctx.restore();
    }

    valueText({ item, point }) {
      return point[0] === this.spec.axes.length - 1 ? "accuracy axis" : this.spec.axes[point[0]]?.name ?? "";
    }
  }

  const highlight = (number, from, hit) => {
    for (const chart of drawn) chart.mark(number, chart === from ? hit : null);
    for (const row of document.querySelectorAll("tr.lit")) row.classList.remove("lit");
    if (number !== null) document.querySelector(`tr[data-trial="${Number(number)}"]`)?.classList.add("lit");
  };

  /* Tables: click a heading to sort; the leaderboard has a filter and shows its first rows until asked */
  const valueOf = (row, column) => {
    const cell = row.cells[column], text = cell.dataset.v ?? cell.textContent.trim();
    const number = Number(text.replace(/[\u202f,%\s]/g, "").replace("−", "-"));
    return text === "" || text === "–" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  };
  const compare = (one, other) => (typeof one === typeof other ? (one < other ? -1 : one > other ? 1 : 0) : typeof one === "number" ? -1 : 1);
  const sort = (table, column, down) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    rows.sort(([one], [other]) => (one === null ? 1 : other === null ? -1 : (down ? -1 : 1) * compare(one, other)));
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      if (!cell.textContent.trim()) return;
      const button = element("button", "", cell.textContent);
      button.type = "button";
      button.title = "Sort";
      cell.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = cell.classList.contains("n") && cell.dataset.first !== "up" ? "descending" : "ascending";
        const next = { ascending: "descending", descending: "ascending" }[cell.getAttribute("aria-sort")] ?? first;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", next);
        sort(table, column, next === "descending");
        shorten(table);
      });
    });
  }
  const shorten = (table) => {
    const most = Number(table.dataset.rows);
    if (!most) return;
    const words = (table.dataset.filter ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let matching = 0;
    for (const row of table.tBodies[0].rows) {
      const text = (row.dataset.text ??= row.textContent.replace(/\s+/g, " ").toLowerCase());
      const fits = words.every((word) => text.includes(word));
      matching += fits;
      row.hidden = !fits || (!table.dataset.all && matching > most);
    }
    const button = table.closest(".tabled").querySelector("button.more");
    button.hidden = Boolean(table.dataset.all) || matching <= most;
    button.textContent = `Show all ${matching}`;
    table.closest(".tabled").querySelector(".found").textContent = words.length ? `${matching} of ${table.tBodies[0].rows.length}` : "";
  };
  for (const table of document.querySelectorAll("table[data-rows]")) {
    const frame = table.closest(".tabled"), bar = element("div", "tools");
    const label = element("label", "", "Filter ");
    const input = element("input");
    input.type = "search";
    input.placeholder = table.dataset.hint ?? "";
    input.addEventListener("input", () => {
      table.dataset.filter = input.value;
      shorten(table);
    });
    label.append(input);
    bar.append(label, element("span", "found soft"));
    bar.hidden = table.tBodies[0].rows.length <= 12;
    frame.prepend(bar);
    const more = element("button", "more", "");
    more.type = "button";
    more.addEventListener("click", () => {
      table.dataset.all = "yes";
      shorten(table);
    });
    frame.append(more);
    shorten(table);
    table.addEventListener("pointerover", (event) => {
      const row = event.target.closest("tr[data-trial]");
      if (row) for (const chart of drawn) chart.mark(Number(row.dataset.trial), null);
    });
    table.addEventListener("pointerleave", () => highlight(null));
  }

  /* Commands can be copied */
  for (const block of document.querySelectorAll("pre.command")) {
    if (!navigator.clipboard) break;
    const button = element("button", "copy", "Copy");
    button.type = "button";
    button.addEventListener("click", () => navigator.clipboard.writeText(block.dataset.command).then(() => (button.textContent = "Copied")));
    block.append(button);
  }

  for (const place of document.querySelectorAll("[data-chart]")) {
    const spec = page.charts[place.dataset.chart];
    if (spec) drawn.push(new (spec.kind === "parallel" ? Parallel : Chart)(place, spec));
  }
  const redraw = () => {
    colours.clear();
    for (const chart of drawn) chart.redraw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    redraw();
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    redraw();
  });
  document.documentElement.dataset.charts = String(drawn.length);
})();
