// An image to classify.

const RELEASE_MILLISECONDS = 10_000;

let count = 0;

/** An image to classify, and how it is drawn. */
export class Picture {
  /**
   * @param {Blob} blob The file that is sent.
   * @param {HTMLImageElement | HTMLCanvasElement} drawable The upright image.
   * @param {{name: string, url: string, note?: string, description?: string,
   *   region?: import("./draw.js").Region}} properties
   */
  constructor(blob, drawable, { name, url, note = "", description = name, region }) {
    this.id = ++count;
    this.blob = blob;
    this.drawable = drawable;
    this.name = name;
    this.url = url;
    this.note = note;
    this.description = description;
    this.region = region;
    /** The name of the sample that it is. */
    this.sample = "";
    this.width = drawable instanceof HTMLImageElement ? drawable.naturalWidth : drawable.width;
    this.height = drawable instanceof HTMLImageElement ? drawable.naturalHeight : drawable.height;
  }

  /**
   * Draw the part of the image that the network saw, so that it fills a canvas.
   * @param {CanvasRenderingContext2D} context
   * @param {import("./heat_view.js").Crop} crop
   */
  drawCrop(context, crop) {
    // The server's rectangle has the size of the file that it received.
    const scale = this.width / crop.photo_width;
    const { width, height } = context.canvas;
    context.imageSmoothingQuality = "high";
    context.drawImage(
      this.drawable,
      crop.x * scale,
      crop.y * scale,
      crop.width * scale,
      crop.height * scale,
      0,
      0,
      width,
      height,
    );
  }
}

/**
 * Free the memory of a picture that is no longer shown. Parts of the page may still be loading it.
 * @param {Picture | null} picture
 */
export function release(picture) {
  if (picture) setTimeout(() => URL.revokeObjectURL(picture.url), RELEASE_MILLISECONDS);
}

/**
 * Return an encoded image as a picture.
 * @param {Blob} blob
 * @param {string} name
 * @param {string} [note]
 * @returns {Promise<Picture>} It is rejected if the browser can't decode the image.
 */
export async function openImage(blob, name, note = "") {
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
  return new Picture(blob, image, { name, url, note, description: `The image: ${name}` });
}
