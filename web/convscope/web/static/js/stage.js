// The image beside the results: a photo or the drawing, with heat over it.

import { byId, el } from "./dom.js";
import { canvas as drawing } from "./draw.js";
import { paintHeat } from "./heat.js";
import { fit, HeatView, place } from "./heat_view.js";
import { choices, session } from "./state.js";

const view = new HeatView();
const drawnHeat = el("canvas", { class: "heat over-drawing", "aria-hidden": "true" });
const drawingFrame = el("div", { class: "heat-frame drawing-frame" }, drawing, drawnHeat);
const empty = el("p", { class: "stage-empty", text: "Drop a photo here, or paste one" });

/** Show the image, and its heat. */
export function showStage() {
  byId("stage").append(view.frame, drawingFrame, empty);
  session.on(["image"], showImage);
  choices.on(["drawing", "tab"], showImage);
  session.on(["result"], showHeat);
  choices.on(["opacity"], showHeat);
  showImage();
}

function showImage() {
  const { image } = session.values;
  const { drawing: draws, tab } = choices.values;
  const hadFocus = byId("welcome").contains(document.activeElement);
  byId("welcome").hidden = Boolean(image) || draws || tab !== "classes";
  byId("workspace").hidden = !byId("welcome").hidden;
  // The button that was pressed is gone. The drawing takes the focus itself.
  if (hadFocus && byId("welcome").hidden && !draws) byId("headline").focus();
  view.frame.hidden = draws || !image;
  drawingFrame.hidden = !draws;
  empty.hidden = draws || Boolean(image);
  byId("drawing-tools").hidden = !draws;
  if (image && !draws) view.showImage(image);
  showHeat();
}

function caption(image, crop) {
  if (!image || image.region) return "";
  const seen = crop && isPart(crop) ? "The network sees the bright part." : "";
  return `${image.name}, ${image.width} × ${image.height} pixels. ${image.note} ${seen}`.trim();
}

function isPart({ width, height, photo_width: photoWidth, photo_height: photoHeight }) {
  return width < photoWidth - 1 || height < photoHeight - 1;
}

function showHeat() {
  const { image, result } = session.values;
  const current = result?.results[0];
  const [explanation] = current?.explanations ?? [];
  drawnHeat.hidden = true;
  byId("image-caption").textContent = caption(image, result?.image === image && current?.crop);
  if (!image) return;
  if (!choices.values.drawing) {
    const fits = result?.image === image;
    // In the comparison, each network has its own heat.
    const opacity = choices.values.tab === "compare" ? 0 : choices.values.opacity;
    view.showHeat(image, fits ? explanation : undefined, current?.crop ?? null, opacity);
  } else if (explanation && current.crop && result.image.region) {
    drawnHeat.hidden = false;
    place(drawnHeat, inDrawing(current.crop, result.image.region));
    fit(drawnHeat, current.crop);
    paintHeat(drawnHeat, explanation, choices.values.opacity, null);
  }
}

/** Return a rectangle of the picture that was sent as one of the whole drawing. */
function inDrawing(crop, { x, y, side }) {
  return {
    x: x + (crop.x / crop.photo_width) * side,
    y: y + (crop.y / crop.photo_height) * side,
    width: (crop.width / crop.photo_width) * side,
    height: (crop.height / crop.photo_height) * side,
    photo_width: 1,
    photo_height: 1,
  };
}
