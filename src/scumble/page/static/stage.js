// The pictures: before and after under a slider, what changed, the layer, the mask, and previews while it works.

import { $ } from "./dom.js";

const SMALL = 256; // pixels up to which a picture is shown with its pixels as they are
const FILES = { changed: "changed.png", layer: "layer.png", mask: "mask.png" }; // by view
const SAID = { layer: "The layer", changed: "What changed; all else is black", mask: "The mask that the method found: white may change" };

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
    $("before").addEventListener("error", () => {
      if (!this.result || $("before").src.endsWith("/result.png")) return;
      $("before").src = `api/results/${this.result.id}/result.png`;
      $("before").alt = "The picture before is not on the server any more; this is the result";
    });
    this.#draw();
  }

  // A picture to edit; its result goes.
  picture(url, [width, height]) {
    this.input = { url, width, height };
    this.show(null);
  }

  // A result, over the picture that it was made of; null: that picture alone.
  show(result) {
    this.result = result;
    const file = result && `api/results/${result.id}/result.png`;
    const [width, height] = result?.size ?? [this.input?.width ?? 1, this.input?.height ?? 1];
    const small = !result?.heat && Math.max(width, height) <= SMALL;
    $("frame").classList.toggle("small", small);
    $("frame").style.setProperty("--wide", result?.heat ? "100%" : `${Math.max(width, Math.min(1, width / height) * 512)}px`);
    $("frame").style.setProperty("--ratio", result?.heat ? 100 : width / height);
    $("frame").style.setProperty("--shape", result?.heat ? "auto" : width / height); // also while the picture is fetched
    $("frame").style.setProperty("--full", result?.heat ? "auto" : `${width}px`);
    const below = result?.heat ? file : result ? `api/pictures/${result.image}` : this.input?.url;
    if (below && $("before").getAttribute("src") !== below) $("before").src = below;
    $("before").alt = result?.heat ? "Heat maps of the words over the picture" : "The picture before";
    $("before").hidden = !below;
    if (result && !result.heat) $("after").src = file;
    this.#draw();
  }

  preview(url) {
    for (const id of ["grid", "slider", "other", "brushed"]) $(id).hidden = true; // what was seen before
    Object.assign($("after"), { src: url, hidden: false });
    $("after").style.clipPath = "none";
    $("frame").hidden = false;
  }

  look(view) {
    this.view = view;
    this.#draw();
  }

  // The brush is in hand, or not: the mask lies over the picture as it was.
  brush(on) {
    this.brushing = on;
    if (on) this.show(null);
    else this.#draw();
  }

  #draw() {
    const { result, brushing } = this;
    const several = Object.keys(result?.values ?? {}).length > 0;
    const can = (view) => Boolean(result) && !result.heat && (
      view === "compare" || (view === "grid" ? several : result.files.includes(FILES[view]))
    );
    const shown = can(this.view) && !brushing;
    const view = shown ? this.view : "compare";
    for (const button of document.querySelectorAll("[data-view]")) {
      button.disabled = !can(button.dataset.view);
      button.setAttribute("aria-pressed", button.dataset.view === view);
    }
    const comparing = can("compare") && !brushing && view === "compare";
    $("grid").hidden = view !== "grid";
    $("frame").hidden = view === "grid";
    $("brushed").hidden = !brushing && (Boolean(result) || $("brushed").dataset.empty !== "no");
    $("after").hidden = !comparing && view !== "changed";
    $("slider").hidden = !comparing;
    $("other").hidden = !(view in FILES);
    $("other").className = { layer: "chequered", changed: "multiplied" }[view] ?? "";
    if (view in FILES) {
      $("other").src = `api/results/${result.id}/${FILES[view]}`;
      $("other").alt = SAID[view];
    }
    this.#cut();
  }

  #cut() {
    const at = $("slider").hidden ? 0 : Number($("slider").value);
    $("after").style.clipPath = at ? `inset(0 0 0 ${at}%)` : "none";
  }
}
