// The mask: strokes over the picture at its own resolution. Magenta may change; the file is white there, and black elsewhere.

const MARK = [217, 0, 217];

export class Brush {
  constructor(canvas, size) {
    Object.assign(this, { canvas, size, changed: () => {}, steps: [], erasing: false, drawing: null, fitted: 0 });
    canvas.addEventListener("pointerdown", (e) => this.#down(e));
    canvas.addEventListener("pointermove", (e) => this.#move(e));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.#up());
  }

  // A new picture: no mask.
  fit(width, height) {
    Object.assign(this.canvas, { width, height });
    Object.assign(this, { steps: [], drawing: null, fitted: this.fitted + 1 });
    this.#told();
  }

  get empty() {
    return this.steps.length === 0;
  }

  undo() {
    this.steps.pop();
    this.#again();
  }

  clear() {
    this.steps = [];
    this.#again();
  }

  invert() {
    this.#take({ kind: "invert" });
  }

  // Throws an error for a mask of another size than the picture's.
  fits(width, height) {
    const { width: wide, height: high } = this.canvas;
    if (width === wide && height === high) return;
    throw new Error(`mask: ${width}x${height} pixels, but the picture has ${wide}x${high}; draw the mask at the picture's own size`);
  }

  // A mask from a file of the picture's size: white may change. False where the picture is another one by then.
  async load(blob) {
    const { fitted } = this;
    const picture = await createImageBitmap(blob);
    if (fitted !== this.fitted) return false;
    this.fits(picture.width, picture.height);
    const { width, height } = this.canvas;
    const page = new OffscreenCanvas(width, height).getContext("2d");
    page.drawImage(picture, 0, 0);
    const pixels = page.getImageData(0, 0, width, height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const [r, g, b, a] = pixels.data.subarray(i, i + 4);
      pixels.data.set([...MARK, ((r + g + b) / 3) * (a / 255)], i);
    }
    page.putImageData(pixels, 0, 0);
    this.steps = [{ kind: "picture", picture: page.canvas }];
    this.#again();
    return true;
  }

  // The file, null where nothing is masked.
  async blob() {
    if (this.empty) return null;
    const { width, height } = this.canvas;
    const page = new OffscreenCanvas(width, height).getContext("2d");
    page.drawImage(this.canvas, 0, 0);
    page.globalCompositeOperation = "source-in";
    page.fillStyle = "white";
    page.fillRect(0, 0, width, height);
    page.globalCompositeOperation = "destination-over";
    page.fillStyle = "black";
    page.fillRect(0, 0, width, height);
    return page.canvas.convertToBlob({ type: "image/png" });
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ];
  }

  #down(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const width = (Number(this.size.value) / 100) * Math.max(this.canvas.width, this.canvas.height);
    this.drawing = { kind: "stroke", erase: this.erasing, width, points: [this.#place(event)] };
    this.#draw(this.drawing);
  }

  #move(event) {
    if (!this.drawing) return;
    this.drawing.points.push(this.#place(event));
    this.#draw({ ...this.drawing, points: this.drawing.points.slice(-2) });
  }

  #up() {
    if (!this.drawing) return;
    this.steps.push(this.drawing);
    this.drawing = null;
    this.#told();
  }

  #take(step) {
    this.steps.push(step);
    this.#draw(step);
    this.#told();
  }

  #again() {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const step of this.steps) this.#draw(step);
    this.#told();
  }

  #draw(step) {
    const page = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    page.save();
    page.fillStyle = page.strokeStyle = `rgb(${MARK})`;
    if (step.kind === "invert") {
      page.globalCompositeOperation = "xor";
      page.fillRect(0, 0, width, height);
    } else if (step.kind === "picture") {
      page.drawImage(step.picture, 0, 0);
    } else {
      page.globalCompositeOperation = step.erase ? "destination-out" : "source-over";
      Object.assign(page, { lineWidth: step.width, lineCap: "round", lineJoin: "round" });
      page.beginPath();
      page.moveTo(...step.points[0]);
      for (const point of step.points) page.lineTo(...point);
      page.stroke();
      page.beginPath(); // a line of no length is not drawn
      page.arc(...step.points[0], step.width / 2, 0, 2 * Math.PI);
      page.fill();
    }
    page.restore();
  }

  #told() {
    this.changed();
  }
}
