// The pictures: before and after under a slider, what changed, the layer, the mask, and previews while it works.

const SMALL = 256; // pixels up to which a picture is shown with its pixels as they are
const $ = (id) => document.getElementById(id);

export class Stage {
  constructor() {
    this.result = null;
    this.view = "compare";
    $("slider").addEventListener("input", () => this.#cut());
    $("zoom").addEventListener("click", () => {
      const full = $("frame").classList.toggle("full");
      $("zoom").setAttribute("aria-pressed", full);
    });
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => this.look(button.dataset.view));
    }
    this.#draw();
  }

  // A picture to edit; its result goes.
  picture(url, [width, height]) {
    Object.assign($("before"), { src: url, hidden: false });
    $("frame").classList.toggle("small", Math.max(width, height) <= SMALL);
    $("frame").style.setProperty("--wide", `${Math.max(width, (Math.min(1, width / height) * 512))}px`);
    this.show(null);
  }

  show(result) {
    this.result = result;
    if (result) $("after").src = `api/results/${result.id}/result.png`;
    this.#draw();
  }

  preview(url) {
    Object.assign($("after"), { src: url, hidden: false });
    $("after").style.clipPath = "none";
    $("slider").hidden = true;
  }

  look(view) {
    this.view = view;
    this.#draw();
  }

  // The brush is in hand, or not: the mask lies over the picture as it was.
  brush(on) {
    this.brushing = on;
    this.#draw();
  }

  #draw() {
    const { result, brushing } = this;
    const has = (file) => Boolean(result) && result.files.includes(file);
    const files = { changed: "changed.png", layer: "layer.png", mask: "mask.png" };
    for (const button of document.querySelectorAll("[data-view]")) {
      const file = files[button.dataset.view];
      button.disabled = !result || (file !== undefined && !has(file));
      button.setAttribute("aria-pressed", button.dataset.view === this.view);
    }
    const view = result && !brushing && (this.view === "compare" || has(files[this.view])) ? this.view : "compare";
    const comparing = Boolean(result) && !brushing && view === "compare" && !result.heat;
    $("brushed").hidden = !brushing && $("brushed").dataset.empty !== "no";
    if (result && !brushing) $("brushed").hidden = true;
    $("after").hidden = !result || brushing || view === "layer" || view === "mask";
    $("slider").hidden = !comparing;
    $("other").hidden = !result || brushing || view === "compare";
    $("other").className = { layer: "chequered", changed: "multiplied", mask: "" }[view] ?? "";
    if (!$("other").hidden) {
      $("other").src = `api/results/${result.id}/${files[view]}`;
      $("other").alt = { layer: "The layer", changed: "What changed; all else is black", mask: "The mask that the method found: white may change" }[view];
    }
    this.#cut();
  }

  #cut() {
    const at = $("slider").hidden ? 0 : Number($("slider").value);
    $("after").style.clipPath = at ? `inset(0 0 0 ${at}%)` : "none";
  }
}
