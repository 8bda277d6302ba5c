"use strict";
for (const wipe of document.querySelectorAll(".wipe")) {
  const pictures = wipe.querySelector(".pictures");
  const input = wipe.querySelector("input");
  const show = () => wipe.style.setProperty("--at", input.value + "%");
  const follow = (event) => {
    const box = pictures.getBoundingClientRect();
    input.value = Math.max(0, Math.min(100, (100 * (event.clientX - box.left)) / box.width));
    show();
  };
  input.addEventListener("input", show);
  pictures.addEventListener("pointerdown", (event) => {
    pictures.setPointerCapture(event.pointerId);
    follow(event);
    event.preventDefault();
    input.focus();
  });
  pictures.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) follow(event);
  });
  show();
}
