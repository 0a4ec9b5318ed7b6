// What each level of the pyramid is, in plain words. They describe layers in general, as studies of
// trained networks found them (Zeiler and Fergus 2014; Olah et al. 2017), never a single image.

const KINDS = [
  {
    depth: 0,
    title: "Edges",
    text:
      "The first layers usually respond to edges, spots and changes of color. The image is " +
      "still easy to recognize.",
  },
  {
    depth: 0.25,
    title: "Corners and curves",
    text:
      "Layers at this depth usually combine edges to corners, curves and simple patterns. " +
      "Outlines are still visible.",
  },
  {
    depth: 0.5,
    title: "Textures",
    text:
      "Layers at this depth usually respond to textures and repeated patterns, such as " +
      "wood grain, mesh or fur. Outlines begin to dissolve.",
  },
  {
    depth: 0.75,
    title: "Parts",
    text:
      "Layers at this depth usually respond to parts of things, such as an eye, a wheel or " +
      "a rim. Where something is becomes vaguer; what it is becomes clearer.",
  },
  {
    depth: 1,
    title: "Objects",
    text:
      "The last layers usually respond to whole objects and scenes. Most channels stand " +
      "for things that are not in the image. The classes are computed from these.",
  },
];
// A network for digits has no textures or objects to learn.
const SMALL_KINDS = [
  {
    depth: 0,
    title: "Edges",
    text:
      "The first layers usually respond to edges of the strokes, each channel to other " +
      "directions.",
  },
  {
    depth: 0.5,
    title: "Strokes",
    text: "Layers at this depth usually respond to pieces of strokes: bends, ends and crossings.",
  },
  {
    depth: 1,
    title: "Shapes",
    text:
      "The last layers usually respond to arrangements of strokes. Little of the image is " +
      "left; the classes are computed from these.",
  },
];
const FURTHER =
  "Like the level before, seen more coarsely: each channel usually combines several of that level.";
const ONLY = {
  title: "Responses",
  text: "Each channel is the response of one filter: bright where the image resembles it.",
};

/**
 * Return the kind of a level by its depth.
 * @param {number} place From 0.
 * @param {number} count The number of levels.
 * @param {boolean} small Whether the network is one for small gray images.
 * @returns {{title: string, text: string}}
 */
export function kindOf(place, count, small) {
  if (count < 2) return ONLY;
  const kinds = small ? SMALL_KINDS : KINDS;
  const kind = nearest(kinds, place / (count - 1));
  if (place === 0 || kind !== nearest(kinds, (place - 1) / (count - 1))) return kind;
  return { title: `${kind.title}, combined`, text: FURTHER };
}

/** @param {typeof KINDS} kinds @param {number} depth From 0 to 1. */
function nearest(kinds, depth) {
  return kinds.reduce((best, kind) =>
    Math.abs(kind.depth - depth) < Math.abs(best.depth - depth) ? kind : best,
  );
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
  return (
    `${width} × ${height} positions, ${patch} of the ${input.width} × ${input.height} that the ` +
    "network sees. Each position looks at its surroundings, too."
  );
}
