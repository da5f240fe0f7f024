// What the reader does: pointer, keyboard, buttons.

// Makes a place the current one, at a scale at which it can be read.
function choose(side, place, entry = -1) {
  Object.assign(state, { side, place, entry });
  if (columns[side].height[place] * state.scale < READABLE) zoomTo(1);
  reveal(side, place);
  draw();
  showCurrent();
}

// Makes the row of a place the current one, at this scale.
function moveTo(side, place) {
  Object.assign(state, { side, place, entry: -1 });
  reveal(side, place);
  draw();
  showCurrent();
}

function zoomInto(side, first, end) {
  Object.assign(state, { side, place: first, entry: -1 });
  const column = columns[side];
  const height = bottomOf(column, end - 1) - column.y[first];
  zoomTo(Math.min(1, Math.max(state.scale * 4, (view.clientHeight - HEAD) / height)));
  view.scrollTop = column.y[first] * state.scale - 40;
  draw();
  showCurrent();
  view.focus({ preventScroll: true });
}

// The row of a step up or down.
function step(by) {
  const column = columns[state.side];
  if (column.length === 0) return;
  if (state.place < 0) {
    moveTo(state.side, Math.min(column.length - 1, placeBelow(column, top() / state.scale)));
    return;
  }
  const [first, end] = rowAt(column, state.place);
  const next = by > 0 ? end : first - 1;
  if (next >= 0 && next < column.length) moveTo(state.side, next);
}

// The place in the other space where the current one leads.
function cross(side) {
  if (state.place < 0 || side === state.side) return;
  for (const block of blocksOf(columns[state.side], ...rowAt(columns[state.side], state.place))) {
    const place = columns[side].placeOf[block];
    if (place >= 0) {
      moveTo(side, place);
      return;
    }
  }
}

function enter() {
  if (state.place < 0) return;
  const [first, end] = rowAt(columns[state.side], state.place);
  if (end - first > 1) zoomInto(state.side, first, end);
  else zoomTo(Math.max(1, state.scale), onScreen(columns[state.side].y[first]));
}

function nextWarning() {
  const blocks = [...warningsOf.keys()].sort((one, other) => one - other);
  const place = (block) => columns[GUEST].placeOf[block];
  const after = state.side === GUEST ? state.place : -1;
  const next = blocks.find((block) => place(block) > after) ?? blocks[0];
  if (next !== undefined) choose(GUEST, place(next));
}

function leave() {
  Object.assign(state, { place: -1, entry: -1 });
  draw();
  showOverview();
}

const zoomIn = () => zoomTo(state.scale * 2);
const zoomOut = () => zoomTo(state.scale / 2);
const zoomWhole = () => zoomTo(0);
const zoomRead = () => zoomTo(1);

const KEYS = {
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  ArrowLeft: () => cross(GUEST),
  ArrowRight: () => cross(HOST),
  Home: () => moveTo(state.side, 0),
  End: () => moveTo(state.side, columns[state.side].length - 1),
  PageDown: () => (view.scrollTop += view.clientHeight - 60),
  PageUp: () => (view.scrollTop -= view.clientHeight - 60),
  Enter: enter,
  Escape: leave,
  "+": zoomIn,
  "=": zoomIn,
  "-": zoomOut,
  0: zoomWhole,
  1: zoomRead,
  w: nextWarning,
};

function rowOf(event) {
  const group = event.target.closest?.(".row");
  if (!group) return null;
  const { side, first, end } = group.dataset;
  return [Number(side), Number(first), Number(end)];
}

view.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const action = KEYS[event.key];
  if (!action || columns[state.side].length === 0) return;
  event.preventDefault();
  action();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target === query) return;
  event.preventDefault();
  query.focus();
});
query.addEventListener("keydown", (event) => {
  if (event.key === "Enter") find();
  if (event.key === "Escape") view.focus({ preventScroll: true });
});

view.addEventListener("scroll", drawSoon);
view.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  const at = event.clientY - view.getBoundingClientRect().top - view.clientTop;
  zoomTo(state.scale * 2 ** (-event.deltaY / 200), at);
}, { passive: false });
view.addEventListener("pointerover", (event) => {
  const row = rowOf(event);
  if (row && event.pointerType === "mouse" && !drag) showDetails(...row);
});
view.addEventListener("pointerleave", showCurrent);
view.addEventListener("click", (event) => {
  const row = rowOf(event);
  if (row && !wasDragged) moveTo(row[0], row[1]);
});
view.addEventListener("dblclick", (event) => {
  const row = rowOf(event);
  if (row) enter();
});

// A mouse drags the picture; fingers scroll it.
let drag = null;
let wasDragged = false;
view.addEventListener("pointerdown", (event) => {
  wasDragged = false;
  const isOnBar = event.clientX - view.getBoundingClientRect().left > view.clientWidth;
  if (event.pointerType === "mouse" && event.button === 0 && !isOnBar) drag = event.clientY;
});
window.addEventListener("pointermove", (event) => {
  if (drag === null) return;
  if (Math.abs(event.clientY - drag) < 4 && !wasDragged) return;
  wasDragged = true;
  view.scrollTop -= event.clientY - drag;
  drag = event.clientY;
});
window.addEventListener("pointerup", () => (drag = null));

for (const [id, action] of Object.entries({ find, zoomIn, zoomOut, zoomWhole, zoomRead, nextWarning })) {
  document.getElementById(id).addEventListener("click", action);
}
document.getElementById("nextWarning").hidden = warningsOf.size === 0;
new ResizeObserver(() => zoomTo(state.scale, 0)).observe(view);

// A board is read from the top; what has more regions begins as a whole.
document.documentElement.classList.add("interactive");
zoomTo(count <= 400 ? 1 : 0, 0);
