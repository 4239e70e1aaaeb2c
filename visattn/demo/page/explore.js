// Attention of a chosen patch, by layer and head: plain canvases over the numbers that stand in this page.
"use strict";

const RAMP = [[255, 194, 74, 0], [255, 177, 61, .35], [255, 138, 43, .65], [236, 61, 34, .85], [184, 15, 42, .95]];

function colour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1), i = Math.min(Math.floor(at), RAMP.length - 2), t = at - i;
  const [r, g, b, a] = RAMP[i].map((v, c) => v + t * (RAMP[i + 1][c] - v));
  return `rgba(${r | 0},${g | 0},${b | 0},${a})`;
}

function bytes(text) {
  return Uint8Array.from(atob(text), c => c.charCodeAt(0));
}

class Explorer {
  constructor(root, data) {
    Object.assign(this, data);
    this.root = root;
    this.stage = root.querySelector(".stage");
    this.readout = root.querySelector(".readout");
    this.most = root.querySelector(".most");
    this.tokens = this.rows * this.columns + (this.token ? 1 : 0);
    this.weights = bytes(this.weights);
    this.tops = new Float32Array(bytes(this.tops).buffer);
    this.image = 0;
    this.layer = this.start.layer;
    this.head = this.start.head;
    this.query = this.start.query;                    // the number of a patch; -1 is the class token
    this.pictures = this.images.map(source => {
      const picture = new Image();
      picture.onload = () => this.draw();
      picture.src = source.src;
      return picture;
    });
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.stage);
    if (this.stage.clientWidth) this.draw();
  }

  listen() {
    const at = event => {
      const box = this.stage.getBoundingClientRect();
      const c = Math.floor((event.clientX - box.left) / box.width * this.columns);
      const r = Math.floor((event.clientY - box.top) / box.height * this.rows);
      return Math.min(Math.max(r, 0), this.rows - 1) * this.columns + Math.min(Math.max(c, 0), this.columns - 1);
    };
    this.stage.addEventListener("pointermove", e => { if (e.pointerType === "mouse" && !this.held) this.ask(at(e)); });
    this.stage.addEventListener("click", e => {
      const q = at(e);
      this.held = !(this.held && q === this.query);   // a click holds the patch; a click on it lets go
      this.ask(q);
    });
    this.stage.addEventListener("keydown", e => {
      const q = Math.max(this.query, 0), r = Math.floor(q / this.columns), c = q % this.columns;
      const to = {ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], ArrowUp: [r - 1, c], ArrowDown: [r + 1, c],
                  Home: [0, 0], End: [this.rows - 1, this.columns - 1]}[e.key];
      if (!to) return;
      e.preventDefault();
      this.held = true;
      if (to[0] >= 0 && to[0] < this.rows && to[1] >= 0 && to[1] < this.columns) this.ask(to[0] * this.columns + to[1]);
    });
    this.root.addEventListener("change", e => {
      const value = Number(e.target.value);
      if (e.target.name.endsWith("-image")) this.image = value;
      if (e.target.name.endsWith("-asks")) { this.query = value ? -1 : this.start.patch; this.held = !!value; }
      this.draw();
    });
    this.root.querySelectorAll(".maps button").forEach(b => b.addEventListener("click", () => {
      this.layer = Number(b.dataset.layer);
      this.head = Number(b.dataset.head);
      this.draw();
    }));
  }

  ask(query) {
    if (query === this.query) return;
    this.query = query;
    const patch = this.root.querySelector("input[name$='-asks'][value='0']");
    if (patch) patch.checked = true;
    this.draw();
  }

  // The weights of the query under one head: a function of the number of a patch, and the largest of them.
  row(layer, head) {
    const shift = this.token ? 1 : 0, T = this.tokens, heads = this.heads.length, layers = this.layers.length;
    const which = ((this.image * layers + layer) * heads + head) * T + this.query + shift;
    const top = this.tops[which], at = which * T + shift;
    return {share: s => this.weights[at + s] / 255, top, token: shift ? this.weights[at - 1] / 255 * top : 0};
  }

  draw() {
    const ratio = this.columns / this.rows;
    this.paint(this.stage, this.row(this.layer, this.head), ratio, true);
    this.root.querySelectorAll(".maps button").forEach(b => {
      const layer = Number(b.dataset.layer), head = Number(b.dataset.head);
      b.setAttribute("aria-pressed", layer === this.layer && head === this.head);
      this.paint(b.querySelector("canvas"), this.row(layer, head), ratio, false);
    });
    this.say();
  }

  paint(canvas, row, ratio, large) {
    const wide = canvas.clientWidth;
    if (!wide) return;
    const tall = wide / ratio, dense = window.devicePixelRatio || 1;
    canvas.style.height = `${tall}px`;
    canvas.width = Math.round(wide * dense);
    canvas.height = Math.round(tall * dense);
    const pen = canvas.getContext("2d");
    pen.scale(dense, dense);
    const picture = this.pictures[this.image], w = wide / this.columns, h = tall / this.rows;
    const glow = () => {
      for (let s = 0; s < this.rows * this.columns; s++) {
        pen.fillStyle = colour(row.share(s));
        pen.fillRect(s % this.columns * w, Math.floor(s / this.columns) * h, w + .3, h + .3);
      }
    };
    const show = () => {
      if (picture.complete && picture.naturalWidth) pen.drawImage(picture, 0, 0, wide, tall);
    };
    if (this.pixelated) {                             // ink on a coloured ground
      pen.imageSmoothingEnabled = false;
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, wide, tall);
      glow();
      pen.globalCompositeOperation = "multiply";
      pen.globalAlpha = .6;
      show();
      pen.globalAlpha = 1;
      pen.globalCompositeOperation = "source-over";
    } else {                                          // colour on a photograph that is paler than it was
      show();
      pen.fillStyle = "rgba(255,255,255,.2)";
      pen.fillRect(0, 0, wide, tall);
      glow();
    }
    if (large && this.pixelated) {                    // where one patch ends
      pen.fillStyle = "rgba(27,33,48,.22)";
      for (let c = 1; c < this.columns; c++) pen.fillRect(c * w - .5, 0, 1, tall);
      for (let r = 1; r < this.rows; r++) pen.fillRect(0, r * h - .5, wide, 1);
    }
    if (this.query < 0) return;
    const x = this.query % this.columns * w, y = Math.floor(this.query / this.columns) * h;
    for (const [style, width] of [["#fff", large ? 5 : 3], ["#0a84d0", large ? 2.5 : 1.5]]) {
      pen.strokeStyle = style;
      pen.lineWidth = width;
      pen.strokeRect(x, y, w, h);
    }
  }

  say() {
    const row = this.row(this.layer, this.head), percent = v => `${(100 * v).toFixed(v < .1 ? 1 : 0)}\u202f%`;
    let best = 0;
    for (let s = 1; s < this.rows * this.columns; s++) if (row.share(s) > row.share(best)) best = s;
    const place = s => `row ${Math.floor(s / this.columns)}, column ${s % this.columns}`;
    const who = this.query < 0 ? this.token : `The patch at ${place(this.query)}`;
    const self = best === this.query ? "itself" : place(best);
    const rest = this.token && row.token >= .005 ? ` and ${percent(row.token)} on the class token` : "";
    const which = this.images.length > 1 ? `${this.images[this.image].name}. ` : "";
    this.readout.innerHTML = `${which}<b>${who}</b>, ${this.layers[this.layer]}, ${this.heads[this.head]}: most weight, `
      + `<b>${percent(row.share(best) * row.top)}</b>, on ${self}${rest}.`;
    this.most.textContent = percent(row.top);
  }
}

for (const root of document.querySelectorAll(".explore[data-for]")) {
  new Explorer(root, JSON.parse(document.getElementById(root.dataset.for).textContent));
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const th = button.parentElement, body = th.closest("table").tBodies[0], column = th.cellIndex;
    const up = th.getAttribute("aria-sort") !== "ascending";
    th.parentElement.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = (a, b) => th.classList.contains("n") ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b));
    [...body.rows].sort((a, b) => up ? compare(a, b) : compare(b, a)).forEach(row => body.append(row));
  });
}
