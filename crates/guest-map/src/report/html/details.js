// What is known about a row: the same as guest-map explain says.

const overview = document.getElementById("overview");
const details = document.getElementById("details");
// More than this is not read: a search finds the others.
const MOST_BLOCKS = 20;
const MOST_ENTRIES = 40;

function html(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// Each pair is a term and its description.
const terms = (pairs) => html("dl", "", ...pairs.flatMap(([term, text]) => [html("dt", term), html("dd", text)]));

function describeEntry(block, entry) {
  const { place, line, start, length } = entryOf(entry);
  const name = data.names[entry];
  const quoted = name === place ? "" : name.startsWith("/") ? ` ${name}` : ` "${name}"`;
  const range = (from) => `${hexadecimal(from)}-${hexadecimal(from + length - 1n)}`;
  const host = hasHost(block) ? `, host ${range(start + BigInt(distance[block]) * 4096n)}` : "";
  return `${data.file}:${line}: ${place}${quoted} (guest ${range(start)}${host})`;
}

function entryList(block, found) {
  const [from, to] = [firstEntry[block], firstEntry[block + 1]];
  const isHere = from <= found && found < to;
  const first = isHere ? Math.max(from, Math.min(found, to - MOST_ENTRIES)) : from;
  const list = html("ul");
  for (let entry = first; entry < Math.min(to, first + MOST_ENTRIES); entry++) {
    const item = html("li", describeEntry(block, entry));
    if (entry === found) item.className = "found";
    list.append(item);
  }
  const hidden = to - from - list.children.length;
  if (hidden > 0) list.append(html("li", `and ${hidden} more: search for a name or an address`));
  return list;
}

function warningList(blocks) {
  const indices = new Set();
  for (const block of blocks) for (const index of warningsOf.get(block) ?? []) indices.add(index);
  if (indices.size === 0) return [];
  const list = html("ul");
  list.className = "warnings";
  for (const index of [...indices].slice(0, MOST_ENTRIES)) list.append(warningItem(data.warnings[index]));
  if (indices.size > MOST_ENTRIES) list.append(html("li", `and ${indices.size - MOST_ENTRIES} more`));
  return [html("h3", "Warnings"), list];
}

function warningItem(warning) {
  const message = warning.message ?? "guest-map plan --warnings all says more";
  return html("li", "", html("strong", warning.code), `: ${message}`);
}

function describeLeaves(block) {
  const [small, large, huge] = leavesOf(block);
  return `${small} of 4 KiB, ${large} of 2 MiB, ${huge} of 1 GiB`;
}

function describeBlock(block) {
  const { names, more } = namesOf([block], 1);
  const end = guestPage[block] + pageCount[block];
  const isEmulated = kindOf[block] === EMULATED;
  const pairs = [
    ["Guest", rangeOf(guestPage[block], end)],
    ["Host", describeHost(block)],
    ["Size", sizeOf(pageCount[block])],
    ["Kind", KINDS[kindOf[block]]],
  ];
  if (!isEmulated) pairs.push(["Access", data.flags[flagsOf[block]]], ["Leaves", describeLeaves(block)]);
  return [
    html("h2", (names[0] ?? "") + (more > 0 ? ` +${more}` : "")),
    terms(pairs),
    html("h3", firstEntry[block + 1] - firstEntry[block] === 1 ? "Entry" : "Entries"),
    entryList(block, state.entry),
    ...warningList([block]),
  ];
}

function describeRun(side, first, end) {
  const column = columns[side];
  const blocks = blocksOf(column, first, end);
  const pages = blocks.reduce((sum, block) => sum + pageCount[block], 0);
  const { names, more } = namesOf(blocks, 12);
  const list = html("ul", "", ...names.map((name) => html("li", name)));
  if (more > 0) list.append(html("li", `and ${more} more`));
  const button = html("button", "Zoom in here");
  button.type = "button";
  button.addEventListener("click", () => zoomInto(side, first, end));
  return [
    html("h2", plural(blocks.length, "region")),
    terms([
      [side === GUEST ? "Guest" : "Host", rangeOf(column.from[first], column.to[end - 1])],
      ["Size", `${sizeOf(pages)} without the gaps`],
    ]),
    html("p", "", button),
    list,
    ...warningList(blocks),
  ];
}

function showDetails(side, first, end) {
  const blocks = blocksOf(columns[side], first, end);
  const isSummedUp = end - first > 1;
  const parts = isSummedUp
    ? describeRun(side, first, end)
    : Array.from(blocks.slice(0, MOST_BLOCKS)).flatMap(describeBlock);
  details.replaceChildren(...parts);
  if (!isSummedUp && blocks.length > MOST_BLOCKS) {
    details.append(html("p", `and ${blocks.length - MOST_BLOCKS} more regions`));
  }
  details.hidden = false;
  overview.hidden = true;
}

function showOverview() {
  details.hidden = true;
  overview.hidden = false;
}

// The row that was chosen, or the overview.
function showCurrent() {
  if (state.place < 0) showOverview();
  else showDetails(state.side, ...rowAt(columns[state.side], state.place));
}
