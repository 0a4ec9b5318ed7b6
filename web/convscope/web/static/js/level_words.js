// What each level of the pyramid is, in plain words. They describe layers in general, as studies of
// trained networks found them (Zeiler and Fergus 2014; Olah et al. 2017), never a single image.

const KINDS = [
  {
    upTo: 0.2,
    title: "Edges",
    text: "The first layers usually respond to edges, spots and changes of color. The image is still easy to recognize.",
  },
  {
    upTo: 0.5,
    title: "Textures",
    text: "Layers at this depth usually combine edges to corners, curves and repeated textures. Outlines are still visible.",
  },
  {
    upTo: 0.8,
    title: "Parts",
    text: "Layers at this depth usually respond to parts of things, such as an eye, a wheel or a rim. Where something is becomes vaguer; what it is becomes clearer.",
  },
  {
    upTo: 1,
    title: "Objects",
    text: "The last layers usually respond to whole objects and scenes. Many channels stay dark, because what they stand for is not in the image. The classes are computed from these.",
  },
];
// A network for digits has no textures or objects to learn.
const SMALL_KINDS = [
  { upTo: 0.34, title: "Edges", text: "The first layers usually respond to edges of the stroke, each channel to another direction." },
  { upTo: 0.67, title: "Strokes", text: "Layers at this depth usually respond to pieces of strokes: bends, ends and crossings." },
  { upTo: 1, title: "Shapes", text: "The last layers usually respond to arrangements of strokes. Little of the image is left; the classes are computed from these." },
];
const ONLY = { title: "Responses", text: "Each channel is the response of one filter: bright where the image resembles it." };

/**
 * Return the kind of a level by its depth.
 * @param {number} place From 0.
 * @param {number} count The number of levels.
 * @param {boolean} small Whether the network is one for small gray images.
 * @returns {{title: string, text: string}}
 */
export function kindOf(place, count, small) {
  if (count < 2) return ONLY;
  const depth = place / (count - 1);
  const kinds = small ? SMALL_KINDS : KINDS;
  return kinds.find(({ upTo }) => depth <= upTo) ?? kinds[kinds.length - 1];
}

/**
 * Return how fine a level is.
 * @param {{shape: number[], stride: number}} map
 * @param {{height: number, width: number}} input
 */
export function resolutionOf({ shape, stride }, input) {
  const [, height, width] = shape;
  const cell = Math.round(stride);
  const patch = cell <= 1 ? "one for almost each pixel" : `one for each ${cell} × ${cell} pixels`;
  return `${width} × ${height} positions, ${patch} of the ${input.width} × ${input.height} that the network sees. Each position looks at its surroundings, too.`;
}
