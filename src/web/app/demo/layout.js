// How large the tiles are: pure geometry, in CSS pixels.

const WIDE = 16 / 9;
const GAP = 8;
const NARROW = 640; // below this a stage is a phone's: everything in one flow, and it may scroll
const RATIOS = [WIDE, 4 / 3, 1]; // of the small tiles, from the best on
const STEP = 6;

/**
 * Sizes for `count` tiles on a stage of `width` × `height`, the first being the large one: `{layout, main: [w, h],
 * side: [w, h], columns, rows}`. `layout` is `flow` (rows from left to right) or `beside` (the large one at the left).
 */
export function arrange(width, height, count) {
  if (count === 0 || width <= 0 || height <= 0) return flow([0, 0], [0, 0], 1);
  if (width < NARROW || width < height) return narrow(width, height, count);
  if (count === 1) return flow(fit(width, height), [0, 0], 1);
  if (count === 2) return pair(width, height);
  return beside(width, height, count - 1);
}

const flow = (main, side, columns) => ({ layout: "flow", main: round(main), side: round(side), columns, rows: 1 });
const round = ([w, h]) => [Math.floor(w), Math.floor(h)];

function fit(width, height, ratio = WIDE) {
  return width / height > ratio ? [height * ratio, height] : [width, width / ratio];
}

/** The large one over the whole width, the others below it in two or three columns. */
function narrow(width, height, count) {
  if (count === 1) return flow([width, Math.min(height, width * 1.3)], [0, 0], 1);
  if (count === 2) {
    const low = (height - GAP) / 2;
    // Little height is left, as with cards below: side by side then.
    const each = low < width * 0.45 ? [(width - GAP) / 2, Math.min(height, width * 0.6)] : [width, Math.min(low, width * 0.9)];
    return flow(each, each, 1);
  }
  const main = [width, width / WIDE];
  const others = count - 1;
  const columns = others <= 4 ? 2 : 3;
  const rows = Math.ceil(others / columns);
  const w = (width - GAP * (columns - 1)) / columns;
  const room = (height - main[1] - rows * GAP) / rows;
  // As high as there is room, between wide and upright; beyond that the stage scrolls.
  return flow(main, [w, Math.min(Math.max(room, w * 0.75), w * 1.15)], columns);
}

function pair(width, height) {
  const each = RATIOS.map((ratio) => fit((width - GAP) / 2, height, ratio)).reduce((a, b) => (a[0] * a[1] >= b[0] * b[1] ? a : b));
  return flow(each, each, 2);
}

/** The large one at the left, `others` in columns beside it that are as high as it: whatever fills the stage best. */
function beside(width, height, others) {
  let best = { score: 0 };
  for (let columns = 1; columns <= 4; columns += 1) {
    const rows = Math.ceil(others / columns);
    for (let tall = height; tall > 120; tall -= STEP) {
      const low = (tall - GAP * (rows - 1)) / rows;
      const left = width - tall * WIDE;
      const ratio = RATIOS.find((one) => columns * (low * one + GAP) <= left);
      if (!ratio) continue;
      const side = [low * ratio, low];
      // Lengths, not areas: a large picture must not be bought with faces too small to see.
      const score = Math.sqrt(tall * tall * WIDE) + others * Math.sqrt(side[0] * side[1]);
      if (score > best.score) best = { score, main: [tall * WIDE, tall], side, columns, rows };
    }
  }
  if (!best.score) return narrow(width, height, others + 1);
  return { layout: "beside", main: round(best.main), side: round(best.side), columns: best.columns, rows: best.rows };
}
