// A dialog with the picture of the camera, for devices without an application for it.

import { el } from "./dom.js";
import { icon } from "./icons.js";

const NO_CAMERA =
  "No camera can be used. Allow this page to use it in the browser's settings, or choose a " +
  "photo instead.";

/**
 * Show the camera and return the photo that was taken, or null.
 * @returns {Promise<Blob | null>}
 */
export function takePhoto() {
  const video = el("video", {
    autoplay: true,
    muted: true,
    playsinline: true,
    "aria-label": "The picture of the camera",
  });
  const message = el("p", { role: "alert" });
  const shutter = el("button", {
    type: "button",
    class: "button primary",
    disabled: true,
    text: "Take the photo",
  });
  const dialog = el(
    "dialog",
    { class: "dialog camera", "aria-label": "Camera" },
    el(
      "div",
      { class: "dialog-top" },
      el("h2", { text: "Camera" }),
      el(
        "button",
        {
          type: "button",
          class: "quiet icon-button",
          "aria-label": "Close",
          on: { click: () => dialog.close() },
        },
        icon("close"),
      ),
    ),
    video,
    message,
    shutter,
  );
  document.body.append(dialog);
  dialog.showModal();
  const opened = open(video, shutter, message);
  return new Promise((resolve) => {
    let photo = null;
    shutter.addEventListener("click", async () => {
      photo = await snapshot(video);
      dialog.close();
    });
    dialog.addEventListener("close", async () => {
      dialog.remove();
      (await opened)?.getTracks().forEach((track) => track.stop());
      resolve(photo);
    });
  });
}

/** @returns {Promise<MediaStream | null>} */
async function open(video, shutter, message) {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment" },
    });
    video.srcObject = stream;
    await video.play();
    shutter.disabled = false;
    shutter.focus();
    return stream;
  } catch {
    message.textContent = NO_CAMERA;
    return null;
  }
}

/** @param {HTMLVideoElement} video @returns {Promise<Blob | null>} */
function snapshot(video) {
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}
