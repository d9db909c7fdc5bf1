// A list of any length: only the rows that can be seen are elements. Rows have one height, so that nothing jumps.

import { el } from "./dom.js";

const SPARE = 8; // rows made above and below what can be seen

export class VirtualList {
  // `options`: label, role ("listbox" or "tree"), rowHeight, draw(index, row) fills a row, open(index) acts on one,
  // optional key(event, index) handles further keys and says whether it did.
  constructor(options) {
    this.options = options;
    this.total = 0;
    this.active = -1;
    this.rows = new Map();
    this.id = `list-${Math.random().toString(36).slice(2)}`;
    this.space = el("div.space", { role: "presentation" });
    this.element = el(
      "div.virtual-list",
      { role: options.role, "aria-label": options.label, tabIndex: 0, onscroll: () => this.draw(), onkeydown: (e) => this.key(e) },
      this.space,
    );
    this.space.addEventListener("click", (event) => {
      const row = event.target.closest("[data-index]");
      if (!row) return;
      this.activate(Number(row.dataset.index));
      this.options.open(this.active, event);
    });
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  // Shows `total` rows. The place and the active row stay, unless there are too few rows for them.
  update(total) {
    this.total = total;
    this.space.style.height = `${total * this.options.rowHeight}px`;
    if (this.active >= total) this.active = total - 1;
    this.rows.forEach((row) => row.remove());
    this.rows.clear();
    this.draw();
  }

  draw() {
    const { rowHeight, draw, role } = this.options;
    const first = Math.max(0, Math.floor(this.element.scrollTop / rowHeight) - SPARE);
    const last = Math.min(this.total, Math.ceil((this.element.scrollTop + this.element.clientHeight) / rowHeight) + SPARE);
    for (const [index, row] of this.rows) {
      if (index < first || index >= last) {
        row.remove();
        this.rows.delete(index);
      }
    }
    for (let index = first; index < last; index += 1) {
      if (this.rows.has(index)) continue;
      const row = el("div.row", { role: role === "tree" ? "treeitem" : "option", id: `${this.id}-${index}` });
      row.dataset.index = index;
      row.style.transform = `translateY(${index * rowHeight}px)`;
      row.style.height = `${rowHeight}px`;
      if (role !== "tree") {
        row.setAttribute("aria-setsize", this.total);
        row.setAttribute("aria-posinset", index + 1);
      }
      draw(index, row);
      this.rows.set(index, row);
      this.space.append(row);
    }
    this.mark();
    this.options.seen?.(first, last);
  }

  // Draws one row again, if it can be seen.
  redraw(index) {
    const row = this.rows.get(index);
    if (!row) return;
    row.replaceChildren();
    this.options.draw(index, row);
    this.mark();
  }

  mark() {
    for (const [index, row] of this.rows) {
      row.classList.toggle("active", index === this.active);
      row.setAttribute("aria-selected", index === this.active ? "true" : "false");
    }
    const row = this.rows.get(this.active);
    if (row) this.element.setAttribute("aria-activedescendant", row.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  activate(index) {
    if (!this.total) return;
    this.active = Math.min(this.total - 1, Math.max(0, index));
    const { rowHeight } = this.options;
    const top = this.active * rowHeight;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    if (top + rowHeight > scrollTop + clientHeight) this.element.scrollTop = top + rowHeight - clientHeight;
    this.draw();
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.options.rowHeight) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    const ends = { Home: 0, End: this.total - 1 };
    if (event.key in ends) {
      event.preventDefault();
      this.activate(ends[event.key]);
    } else if (event.key in moves) {
      event.preventDefault();
      this.activate(this.active < 0 ? 0 : this.active + moves[event.key]);
    } else if ((event.key === "Enter" || event.key === " ") && this.active >= 0) {
      event.preventDefault();
      this.options.open(this.active, event);
    } else if (this.options.key?.(event, this.active)) {
      event.preventDefault();
    }
  }
}
