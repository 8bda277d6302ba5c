// A picture with a mark: click, drag or use the arrow keys to move it; row and column go back to Python.

const KEYS = "Click, or use the arrow keys (with Shift: by 10 pixels), to choose the pixel whose PSF is shown.";

function render({ model, el }) {
  const area = document.createElement("div");
  const image = document.createElement("img");
  const mark = document.createElement("span");
  const words = document.createElement("p");
  const pick = model.get("pick");
  area.className = pick ? "area pick" : "area";
  image.draggable = false;
  mark.className = "mark";
  words.className = "words";
  area.append(image);
  el.classList.add("blurphys-picture");
  el.append(area, words);

  function showPicture() {
    const address = model.get("picture");
    if (address) image.src = address;
  }

  function showName() {
    if (pick) area.setAttribute("aria-label", `${model.get("name")}. ${KEYS}`);
    image.alt = pick ? "" : model.get("name");
  }

  function showSize() {
    const [height, width] = [model.get("height"), model.get("width")];
    area.style.aspectRatio = `${width} / ${height}`;
    area.style.maxWidth = `calc(var(--picture-side, 34rem) * ${Math.min(1, width / height)})`;
    showPlace();
  }

  function showPlace() {
    const [row, col] = [model.get("row"), model.get("col")];
    mark.style.left = `${((col + 0.5) / model.get("width")) * 100}%`;
    mark.style.top = `${((row + 0.5) / model.get("height")) * 100}%`;
    words.textContent = pick ? `row ${row}, column ${col}` : model.get("note");
  }

  function move(row, col) {
    const within = (value, size) => Math.min(Math.max(value, 0), size - 1);
    row = within(row, model.get("height"));
    col = within(col, model.get("width"));
    if (row === model.get("row") && col === model.get("col")) return;
    model.set("row", row);
    model.set("col", col);
    model.save_changes();
    showPlace();
  }

  function point(event) {
    const box = area.getBoundingClientRect();
    move(
      Math.floor(((event.clientY - box.top) / box.height) * model.get("height")),
      Math.floor(((event.clientX - box.left) / box.width) * model.get("width")),
    );
  }

  if (pick) {
    area.tabIndex = 0;
    area.setAttribute("role", "application");
    words.setAttribute("aria-live", "polite");
    area.append(mark);
    area.addEventListener("pointerdown", (event) => {
      area.setPointerCapture(event.pointerId);
      point(event);
    });
    area.addEventListener("pointermove", (event) => {
      if (area.hasPointerCapture(event.pointerId)) point(event);
    });
    area.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 10 : 1;
      const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] };
      const chosen = moves[event.key];
      if (!chosen) return;
      event.preventDefault();
      event.stopPropagation();
      move(model.get("row") + chosen[0], model.get("col") + chosen[1]);
    });
  }

  showPicture();
  showName();
  showSize();
  model.on("change:picture", showPicture);
  model.on("change:name", showName);
  for (const key of ["height", "width"]) model.on(`change:${key}`, showSize);
  for (const key of ["row", "col", "note"]) model.on(`change:${key}`, showPlace);
}

export default { render };
