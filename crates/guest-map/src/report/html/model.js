"use strict";
// What the page shows, decoded once. Addresses are counted in pages of 4 KiB, which are exact as numbers.

const data = JSON.parse(document.getElementById("data").textContent);
const KINDS = ["identical", "alloc", "reserved", "passthrough", "emulated"];
const EMULATED = 4;
const FIELDS = 6;
const count = data.blocks.length / FIELDS;

// One element for each block, by guest address.
const guestPage = new Float64Array(count);
const pageCount = new Float64Array(count);
// Host address less guest address; NaN where there is no host address.
const distance = new Float64Array(count);
const kindOf = new Uint8Array(count);
const flagsOf = new Uint16Array(count);
// The entries of block b are firstEntry[b] to firstEntry[b + 1].
const firstEntry = new Uint32Array(count + 1);
const warningsOf = new Map();

{
  let start = 0;
  for (let block = 0; block < count; block++) {
    const [step, pages, kind, flags, host, entries] = data.blocks.slice(block * FIELDS, (block + 1) * FIELDS);
    start += step;
    guestPage[block] = start;
    pageCount[block] = pages;
    distance[block] = host === null ? NaN : host;
    kindOf[block] = kind;
    flagsOf[block] = flags;
    firstEntry[block + 1] = firstEntry[block] + entries;
  }
  data.warnings.forEach((warning, index) => {
    for (const block of warning.blocks) {
      if (!warningsOf.has(block)) warningsOf.set(block, []);
      warningsOf.get(block).push(index);
    }
  });
}

const hasHost = (block) => !Number.isNaN(distance[block]);
const isMoved = (block) => hasHost(block) && distance[block] !== 0;

// The block that an entry belongs to.
function blockOfEntry(entry) {
  let low = 0;
  let high = count;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (firstEntry[middle] <= entry) low = middle;
    else high = middle;
  }
  return low;
}

// Entry as [list, index, line, start, length], with the last two in bytes as BigInt.
function entryOf(entry) {
  const [list, index, line, start, length] = data.places.slice(entry * 5, entry * 5 + 5);
  const base = BigInt(guestPage[blockOfEntry(entry)]) * 4096n;
  // A number counts from the start of the block, text is the address itself.
  const from = typeof start === "string" ? BigInt(start) : base + BigInt(start);
  return { place: data.lists[list] + (index === null ? "" : `[${index}]`), line, start: from, length: BigInt(length) };
}

const GUEST = 0;
const HOST = 1;

// One address space: places that do not overlap, each with the blocks that have addresses there.
function makeColumn(startOf, filter) {
  const blocks = [];
  for (let block = 0; block < count; block++) if (filter(block)) blocks.push(block);
  blocks.sort((one, other) => startOf(one) - startOf(other) || one - other);
  const column = { order: Uint32Array.from(blocks), from: [], to: [], first: [], y: null, height: null };
  blocks.forEach((block, position) => {
    const from = startOf(block);
    const to = from + pageCount[block];
    const last = column.to.length - 1;
    if (last >= 0 && column.to[last] > from) {
      column.to[last] = Math.max(column.to[last], to);
    } else {
      column.from.push(from);
      column.to.push(to);
      column.first.push(position);
    }
  });
  column.length = column.from.length;
  column.first.push(blocks.length);
  column.y = new Float64Array(column.length);
  column.height = new Float32Array(column.length);
  column.placeOf = new Int32Array(count).fill(-1);
  for (let place = 0; place < column.length; place++) {
    for (let at = column.first[place]; at < column.first[place + 1]; at++) column.placeOf[blocks[at]] = place;
  }
  return column;
}

const columns = [
  makeColumn((block) => guestPage[block], () => true),
  makeColumn((block) => guestPage[block] + distance[block], hasHost),
];

// Heights at scale 1, the same as in the picture that is printed.
const ROW = 20;
const WIDE_GAP = 4096;
const rowHeight = (pages) => ROW + 2 * Math.max(0, Math.floor(Math.log2(pages)) - 3);
const gapHeight = (pages) => (pages === 0 ? 0 : pages < WIDE_GAP ? 5 : 18);

// Stacks the places of both columns. What has the same addresses in both stands at the same height.
function layOut() {
  const bottom = [0, 0];
  const placed = [0, 0];
  const next = (side) => {
    const column = columns[side];
    const place = placed[side];
    return bottom[side] + gapHeight(column.from[place] - (place === 0 ? 0 : column.to[place - 1]));
  };
  const put = (side, y) => {
    const column = columns[side];
    const place = placed[side]++;
    column.y[place] = y;
    column.height[place] = rowHeight(column.to[place] - column.from[place]);
    bottom[side] = y + column.height[place];
  };
  const putUntil = (side, end) => {
    while (placed[side] < end) put(side, next(side));
  };
  const [guest, host] = columns;
  let other = 0;
  for (let place = 0; place < guest.length; place++) {
    while (other < host.length && host.from[other] < guest.from[place]) other++;
    if (other < host.length && host.from[other] === guest.from[place] && host.to[other] === guest.to[place]) {
      putUntil(GUEST, place);
      putUntil(HOST, other);
      const y = Math.max(next(GUEST), next(HOST));
      put(GUEST, y);
      put(HOST, y);
    }
  }
  putUntil(GUEST, guest.length);
  putUntil(HOST, host.length);
  return Math.max(bottom[GUEST], bottom[HOST], 1);
}

const wholeHeight = layOut();

// The first place that ends below y, at scale 1.
function placeBelow(column, y) {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column.y[middle] + column.height[middle] < y) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The place that has a page, or -1.
function placeAt(column, page) {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column.to[middle] <= page) low = middle + 1;
    else high = middle;
  }
  return low < column.length && column.from[low] <= page ? low : -1;
}

// How many leaves of 4 KiB, 2 MiB and 1 GiB map a block: at each address the largest that is aligned in guest
// and host. Frames that the hypervisor chooses come in runs of 2 MiB.
function leavesOf(block) {
  if (kindOf[block] === EMULATED) return [0, 0, 0];
  const from = guestPage[block];
  const to = from + pageCount[block];
  const whole = (pages) => Math.max(0, Math.floor(to / pages) - Math.ceil(from / pages));
  const fits = (pages) => (hasHost(block) ? distance[block] % pages === 0 : pages <= 512);
  const huge = data.hasHuge && fits(262144) ? whole(262144) : 0;
  const large = fits(512) ? whole(512) : 0;
  return [pageCount[block] - large * 512, large - huge * 512, huge];
}

const digits = data.digits;
const hexadecimal = (number) => "0x" + number.toString(16).padStart(digits, "0");
const firstByte = (page) => hexadecimal(BigInt(page) * 4096n);
const lastByte = (page) => hexadecimal(BigInt(page) * 4096n - 1n);
const rangeOf = (from, to) => `${firstByte(from)}-${lastByte(to)}`;

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

// A size without a fraction where four digits are enough, else with decimals.
function sizeOf(pages) {
  let number = pages * 4;
  let unit = 1;
  while (number > 0 && number % 1024 === 0) {
    number /= 1024;
    unit++;
  }
  if (number < 10000) return `${number} ${UNITS[unit]}`;
  let value = pages * 4;
  unit = 1;
  while (value >= 1024) {
    value /= 1024;
    unit++;
  }
  const tens = value < 1000 ? 100 : 10;
  return `${(Math.floor(value * tens) / tens).toFixed(value < 1000 ? 2 : 1)} ${UNITS[unit]}`;
}

const plural = (number, word) => (number === 1 ? `1 ${word}` : `${number} ${word}s`);

// Of more entries than this, names that occur twice count twice.
const MOST_COMPARED = 2000;

// The first names of the entries of some blocks, each once, and how many more there are.
function namesOf(blocks, most) {
  let entries = 0;
  for (const block of blocks) entries += firstEntry[block + 1] - firstEntry[block];
  const isCounted = entries <= MOST_COMPARED;
  const names = new Set();
  for (const block of blocks) {
    for (let entry = firstEntry[block]; entry < firstEntry[block + 1]; entry++) {
      if (!isCounted && names.size === most) break;
      names.add(data.names[entry]);
    }
  }
  const first = [...names].slice(0, most);
  return { names: first, more: (isCounted ? names.size : entries) - first.length };
}

// The blocks of the places from first up to end.
function blocksOf(column, first, end) {
  return column.order.subarray(column.first[first], column.first[end]);
}
