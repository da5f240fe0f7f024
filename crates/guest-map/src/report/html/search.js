// Search by address or by name.

const query = document.getElementById("query");
const found = document.getElementById("found");
const search = { text: "", matches: [], next: 0 };

// The number that an address means, or null: 0x8000_0000, 80000000 is decimal.
function addressOf(text) {
  const digits = text.replaceAll("_", "");
  return /^(0x[0-9a-f]+|[0-9]+)$/i.test(digits) ? BigInt(digits) : null;
}

// Where an address is: first in the guest, then on the host.
function matchesOfAddress(address) {
  const page = Number(address >> 12n);
  const matches = [];
  [GUEST, HOST].forEach((side) => {
    const place = placeAt(columns[side], page);
    if (place < 0) return;
    const guest = (block) => BigInt(guestPage[block]) * 4096n;
    for (const block of blocksOf(columns[side], place, place + 1)) {
      if (side === HOST && !isMoved(block)) continue;
      const at = side === GUEST ? address : address - BigInt(distance[block]) * 4096n;
      if (at < guest(block) || at >= guest(block) + BigInt(pageCount[block]) * 4096n) continue;
      let entry = -1;
      for (let one = firstEntry[block]; one < firstEntry[block + 1] && entry < 0; one++) {
        const { start, length } = entryOf(one);
        if (start <= at && at < start + length) entry = one;
      }
      matches.push({ side, place, entry });
    }
  });
  return matches;
}

function matchesOfName(text) {
  const wanted = text.toLowerCase();
  const matches = [];
  data.names.forEach((name, entry) => {
    if (name.toLowerCase().includes(wanted)) {
      matches.push({ side: GUEST, place: columns[GUEST].placeOf[blockOfEntry(entry)], entry });
    }
  });
  return matches;
}

function find() {
  const text = query.value.trim();
  if (text === "") {
    found.textContent = "";
    return;
  }
  if (text !== search.text) {
    const address = addressOf(text);
    const matches = address === null ? [] : matchesOfAddress(address);
    Object.assign(search, { text, next: 0, matches: matches.concat(matchesOfName(text)) });
  }
  if (search.matches.length === 0) {
    found.textContent = addressOf(text) === null ? "No such name" : "Nothing is mapped there";
    return;
  }
  const match = search.matches[search.next];
  found.textContent = `${search.next + 1} of ${search.matches.length}`;
  search.next = (search.next + 1) % search.matches.length;
  choose(match.side, match.place, match.entry);
}
