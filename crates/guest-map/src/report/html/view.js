// The picture: only what is in sight is drawn. Places that are too thin to read are summed up until the reader
// zooms in.

const view = document.getElementById("view");
const spacer = document.getElementById("spacer");
const picture = document.getElementById("picture");
const SVG = "http://www.w3.org/2000/svg";
const CHARACTER = 7.3;
// A row that is lower has no text.
const READABLE = 15;
// What a row of several places is high at least.
const SUMMED_UP = READABLE + 1;
// A band that leads further is an arrow.
const LONGEST_BAND = 700;
const LARGEST_SCALE = 4;
const HEAD = 26;

const state = { scale: 1, side: GUEST, place: -1, entry: -1 };

// Sets the class, the attributes and the text of a new element.
function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A text that fits: of a path the end is kept, since it names the device.
function shorten(text, width) {
  const room = Math.floor(width / CHARACTER);
  const characters = Array.from(text);
  const isNarrow = (character) => character < "\u1100" || (character >= "\u2000" && character < "\u2e80");
  const columnsOf = (character) => (isNarrow(character) ? 1 : 2);
  const total = characters.reduce((sum, character) => sum + columnsOf(character), 0);
  if (total <= room) return text;
  let left = room - 1;
  const isPath = text.startsWith("/");
  if (isPath) characters.reverse();
  const kept = [];
  for (const character of characters) {
    left -= columnsOf(character);
    if (left < 0) break;
    kept.push(character);
  }
  return isPath ? "…" + kept.reverse().join("") : kept.join("") + "…";
}

function nameOf(blocks, width) {
  const { names, more } = namesOf(blocks, 1);
  const rest = more > 0 ? ` +${more}` : "";
  return shorten(names[0] ?? "", width - rest.length * CHARACTER) + rest;
}

// Where the columns stand in a picture of this width. Narrow ones have no room for names beside the bars.
function columnsFor(width) {
  const address = (digits + 2) * CHARACTER + 8;
  const range = (2 * (digits + 2) + 1) * CHARACTER + 8;
  const arrow = Math.max(90, (digits + 5) * CHARACTER);
  const isWide = width >= 2 * range + arrow + 620;
  const hasRanges = width >= 2 * range + arrow + 260;
  const isNarrow = width < 2 * address + 400;
  const label = hasRanges ? range : address;
  const middle = hasRanges ? arrow : Math.min(60, width / 9);
  const labels = isNarrow ? label : 2 * label;
  const bar = isWide ? 180 : Math.max(40, (width - labels - middle) / 2 - 8);
  const names = isWide ? (width - labels - middle - 2 * bar) / 2 - 24 : 0;
  const guest = names + (isWide ? 16 : 4) + label;
  return { width, bar, names, hasRanges, isNarrow, middle, sides: [guest, guest + bar + middle], label };
}

const maximumScale = () => LARGEST_SCALE;
const minimumScale = () => Math.min(1, Math.max(1, view.clientHeight - HEAD - 8) / wholeHeight);
// How far the picture is scrolled. Browsers round what they scroll, and a pixel may be many regions: so the exact
// number is kept until the reader scrolls.
let exactTop = 0;
function top() {
  if (Math.abs(view.scrollTop - exactTop) > 1) exactTop = view.scrollTop;
  return exactTop;
}
const onScreen = (y) => HEAD + y * state.scale - top();

// The row that has a place at this scale, as first place and end. Places that are high enough are rows of their own;
// of the others as many as a power of two are one row, so that rows stay as they are while the picture moves.
function rowAt(column, place) {
  const isHigh = (place) => column.height[place] * state.scale >= READABLE;
  const level = Math.max(0, Math.ceil(Math.log2(SUMMED_UP / (ROW * state.scale))));
  if (isHigh(place)) return [place, place + 1];
  const together = 2 ** level;
  const low = Math.floor(place / together) * together;
  const high = Math.min(column.length, low + together);
  let first = place;
  let end = place + 1;
  while (first > low && !isHigh(first - 1)) first--;
  while (end < high && !isHigh(end)) end++;
  return [first, end];
}

const bottomOf = (column, place) => column.y[place] + column.height[place];

function kindClass(blocks) {
  const kind = kindOf[blocks[0]];
  const isAlike = blocks.every((block) => kindOf[block] === kind);
  return isAlike ? KINDS[kind] : "mixed";
}

function describeHost(block) {
  if (kindOf[block] === EMULATED) return "never mapped: every access traps";
  if (!hasHost(block)) return "the hypervisor chooses the frames";
  const from = guestPage[block] + distance[block];
  return rangeOf(from, from + pageCount[block]) + (isMoved(block) ? "" : ", the same as the guest's");
}

// What a screen reader says of a row.
function labelOf(side, first, end) {
  const column = columns[side];
  const blocks = blocksOf(column, first, end);
  const { names, more } = namesOf(blocks, 3);
  const parts = [side === GUEST ? "guest" : "host", rangeOf(column.from[first], column.to[end - 1])];
  if (blocks.length > 1) parts.push(plural(blocks.length, "region") + ", Enter zooms in");
  else {
    parts.push(sizeOf(pageCount[blocks[0]]), KINDS[kindOf[blocks[0]]]);
    if (side === GUEST) parts.push("host " + describeHost(blocks[0]));
    else parts.push("guest " + rangeOf(guestPage[blocks[0]], guestPage[blocks[0]] + pageCount[blocks[0]]));
  }
  parts.push(names.join(", ") + (more > 0 ? ` and ${more} more` : ""));
  const warned = blocks.reduce((sum, block) => sum + (warningsOf.get(block)?.length ?? 0), 0);
  if (warned > 0) parts.push(plural(warned, "warning"));
  return parts.join(", ");
}

function barText(side, blocks, pages, columnsHere) {
  const width = columnsHere.bar - 8;
  if (blocks.length > 1) {
    const long = `${blocks.length} regions, ${sizeOf(pages)}`;
    return shorten(long.length * CHARACTER <= width ? long : `${blocks.length} ×`, width);
  }
  const block = blocks[0];
  if (columnsHere.isNarrow && side === HOST) return isMoved(block) ? firstByte(guestPage[block] + distance[block]) : "= guest";
  if (columnsHere.names === 0) {
    const name = nameOf(blocks, width);
    const both = `${name}, ${sizeOf(pages)}`;
    return both.length * CHARACTER <= width ? both : name;
  }
  const access = kindOf[block] === EMULATED ? "traps" : data.flags[flagsOf[block]];
  return shorten(`${sizeOf(pages)} ${access}`, width);
}

function drawRow(side, first, end, here) {
  const column = columns[side];
  const blocks = blocksOf(column, first, end);
  const y = onScreen(column.y[first]);
  const height = Math.max(1, onScreen(bottomOf(column, end - 1)) - y);
  const isCurrent = side === state.side && first <= state.place && state.place < end;
  const group = element("g", {
    id: `row-${side}-${first}`,
    class: isCurrent ? "row current" : "row",
    role: "option",
    "aria-selected": isCurrent,
    "aria-label": labelOf(side, first, end),
    "data-side": side,
    "data-first": first,
    "data-end": end,
  });
  const x = here.sides[side];
  const area = { x, y, width: here.bar, height };
  const many = blocks.length > 1 ? " many" : "";
  group.append(element("rect", { class: kindClass(blocks) + many, ...area }));
  const [, large, huge] = blocks.length === 1 ? leavesOf(blocks[0]) : [0, 0, 0];
  if (large + huge > 0) group.append(element("rect", { class: huge > 0 ? "leaf leaf1g" : "leaf", ...area }));
  const isWarned = blocks.some((block) => warningsOf.has(block));
  if (isWarned) group.append(element("rect", { class: "warned", x: x + 1.5, y, width: 4, height }));
  if (height >= READABLE - 1) drawTexts(group, side, first, end, blocks, y + height / 2 + 4, here, isWarned);
  picture.append(group);
}

function drawTexts(group, side, first, end, blocks, y, here, isWarned) {
  const column = columns[side];
  const x = here.sides[side];
  const pages = blocks.reduce((sum, block) => sum + pageCount[block], 0);
  const text = (isWarned ? "⚠ " : "") + barText(side, blocks, pages, here);
  group.append(element("text", { x: x + here.bar / 2, y, "text-anchor": "middle" }, shorten(text, here.bar - 8)));
  if (side === HOST && here.isNarrow) return;
  const addresses = here.hasRanges ? rangeOf(column.from[first], column.to[end - 1]) : firstByte(column.from[first]);
  const onLeft = side === GUEST;
  const anchor = onLeft ? "end" : "start";
  const label = onLeft ? x - 8 : x + here.bar + 8;
  group.append(element("text", { x: label, y, "text-anchor": anchor }, addresses));
  if (here.names === 0) return;
  const names = onLeft || blocks.some(isMoved) ? nameOf(blocks, here.names) : "= guest";
  const beside = onLeft ? x - here.label - 8 : x + here.bar + here.label + 8;
  group.append(element("text", { x: beside, y, "text-anchor": anchor }, names));
}

function drawGap(side, first, here) {
  const column = columns[side];
  const before = first === 0 ? 0 : column.to[first - 1];
  const pages = column.from[first] - before;
  if (pages === 0) return;
  const y = onScreen(first === 0 ? 0 : bottomOf(column, first - 1));
  const bottom = onScreen(column.y[first]);
  const left = here.sides[side];
  const right = left + here.bar;
  picture.append(element("path", { class: "gap", d: `M${left} ${y}V${bottom}M${right} ${y}V${bottom}` }));
  if (bottom - y < READABLE - 1) return;
  // The size stands in the middle of what is in sight.
  const middle = (Math.max(y, HEAD) + Math.min(bottom, view.clientHeight)) / 2 + 4;
  if (middle < y + 10 || middle > bottom - 2) return;
  const at = { class: "soft", x: left + here.bar / 2, y: middle, "text-anchor": "middle" };
  picture.append(element("text", at, shorten(sizeOf(pages), here.bar)));
}

// Joins a row of guest memory with the host memory where it leads, unless that has the same addresses.
function drawBand(first, end, here) {
  const column = columns[GUEST];
  let low = Infinity;
  let high = -Infinity;
  let moved = 0;
  let target = NaN;
  for (const block of blocksOf(column, first, end)) {
    if (!isMoved(block)) continue;
    const place = columns[HOST].placeOf[block];
    low = Math.min(low, columns[HOST].y[place]);
    high = Math.max(high, bottomOf(columns[HOST], place));
    target = guestPage[block] + distance[block];
    moved++;
  }
  if (moved === 0) return;
  const y = onScreen(column.y[first]);
  const bottom = onScreen(bottomOf(column, end - 1));
  const [to, toBottom] = [onScreen(low), onScreen(high)];
  const left = here.sides[GUEST] + here.bar;
  const right = here.sides[HOST];
  if (Math.abs(to - y) <= LONGEST_BAND && toBottom - to <= 4 * (bottom - y) + 40) {
    const middle = (left + right) / 2;
    const curve = `M${left} ${y}C${middle} ${y} ${middle} ${to} ${right} ${to}V${toBottom}`;
    const back = `C${middle} ${toBottom} ${middle} ${bottom} ${left} ${bottom}Z`;
    picture.append(element("path", { class: "band", d: curve + back }));
  } else if (bottom - y >= READABLE - 1) {
    const text = moved > 1 ? `→ ${moved}` : "→ " + firstByte(target);
    const at = { class: "soft", x: left + 6, y: (y + bottom) / 2 + 4 };
    const fits = text.length * CHARACTER <= here.middle - 6;
    picture.append(element("text", at, fits ? text : "→"));
  }
}

function drawHeadings(here) {
  picture.append(element("rect", { class: "paper", x: 0, y: 0, width: here.width, height: HEAD - 4 }));
  ["guest-physical", "host-physical"].forEach((text, side) => {
    const at = { class: "heading", x: here.sides[side] + here.bar / 2, y: 15, "text-anchor": "middle" };
    picture.append(element("text", at, shorten(text, here.bar + here.middle)));
  });
}

// Where the picture ends on the screen, at scale 1.
const endInSight = () => (top() + view.clientHeight - HEAD) / state.scale;

// Calls visit with each row of a column that is in sight, or nearly.
function eachRow(column, margin, visit) {
  const from = (top() - HEAD - margin) / state.scale;
  const to = endInSight() + margin / state.scale;
  for (let place = placeBelow(column, from); place < column.length && column.y[place] <= to; ) {
    const [first, end] = rowAt(column, place);
    visit(first, end);
    place = end;
  }
}

function draw() {
  const [width, height] = [view.clientWidth, view.clientHeight];
  picture.setAttribute("width", width);
  picture.setAttribute("height", height);
  picture.replaceChildren();
  const here = columnsFor(width);
  eachRow(columns[GUEST], LONGEST_BAND, (first, end) => drawBand(first, end, here));
  for (const side of [GUEST, HOST]) {
    eachRow(columns[side], 0, (first, end) => {
      drawGap(side, first, here);
      drawRow(side, first, end, here);
    });
    // The gap that fills the screen has its row below.
    const below = placeBelow(columns[side], endInSight());
    if (below < columns[side].length && columns[side].y[below] > endInSight()) drawGap(side, below, here);
  }
  drawHeadings(here);
  const current = picture.querySelector(".current");
  if (current) view.setAttribute("aria-activedescendant", current.id);
  else view.removeAttribute("aria-activedescendant");
}

let isDue = false;
function drawSoon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    draw();
  });
}

// Changes the scale; what is at this height of the screen stays there.
function zoomTo(scale, at = view.clientHeight / 2) {
  const next = Math.min(maximumScale(), Math.max(minimumScale(), scale));
  const y = (top() + at - HEAD) / state.scale;
  state.scale = next;
  spacer.style.height = `${HEAD + wholeHeight * next + 8}px`;
  view.scrollTop = y * next - at + HEAD;
  exactTop = Math.max(0, y * next - at + HEAD);
  draw();
}

// Moves a place into sight.
function reveal(side, place) {
  const column = columns[side];
  const [first, end] = rowAt(column, place);
  const y = onScreen(column.y[first]);
  const bottom = onScreen(bottomOf(column, end - 1));
  if (y < HEAD || bottom > view.clientHeight) view.scrollTop += (y + bottom - view.clientHeight) / 2;
}
