//! What a reader does: search, zoom, keyboard, pointer.

use thirtyfour::Key;

use crate::Case;
use crate::driver::{Browser, Error};
use crate::pages::{many, small};

pub(crate) const CASES: &[Case] = &[
    ("search_finds_names", search_finds_names),
    (
        "search_finds_addresses_in_guest_and_host",
        search_finds_addresses,
    ),
    ("a_search_in_vain_says_so", a_search_in_vain_says_so),
    ("zoom_sums_up_and_lists_again", zoom_sums_up_and_lists_again),
    (
        "the_wheel_zooms_where_it_points",
        the_wheel_zooms_where_it_points,
    ),
    ("the_keyboard_does_everything", the_keyboard_does_everything),
    ("the_pointer_explains_what_it_is_on", the_pointer_explains),
    ("warnings_are_in_place", warnings_are_in_place),
    ("the_mouse_drags_the_picture", the_mouse_drags_the_picture),
];

const CURRENT: &str = "document.querySelector('.current')?.getAttribute('aria-label')";
const DETAILS: &str = "document.getElementById('details').textContent";
const OVERVIEW_IS_SHOWN: &str = "document.getElementById('overview').checkVisibility()";

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn search(browser: &Browser<'_>, text: &str) -> Result<String, Error> {
    browser.ask("document.getElementById('query').value = ''")?;
    browser.type_into("#query", text)?;
    browser.type_into("#query", Key::Enter)?;
    browser.text("document.getElementById('found').textContent")
}

fn search_finds_names(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&many(2000))?;
    assert_eq!(search(browser, "DEVICE-1234")?, "1 of 1");
    assert_has(
        &browser.text(CURRENT)?,
        &[
            "guest, 0x0100e76000-0x0100e76fff",
            "4 KiB",
            "passthrough",
            "device-1234",
        ],
    );
    assert_has(
        &browser.text(DETAILS)?,
        &[
            "vm.toml:",
            ":1242: passthrough_devices[1234] \"device-1234\" (guest 0x0100e76000-0x0100e76fff",
            "rw-u device",
            "1 of 4 KiB, 0 of 2 MiB, 0 of 1 GiB",
        ],
    );
    // The name of each of the others begins so.
    assert_eq!(search(browser, "device-199")?, "1 of 11");
    browser.click("#find")?;
    assert_eq!(
        browser.text("document.getElementById('found').textContent")?,
        "2 of 11"
    );
    assert_has(&browser.text(CURRENT)?, &["device-1990"]);
    Ok(())
}

fn search_finds_addresses(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&small())?;
    assert_eq!(search(browser, "0xa00_0abc")?, "1 of 1");
    assert_has(
        &browser.text(CURRENT)?,
        &["guest, 0x0a000000-0x0a000fff", "disk"],
    );
    assert_eq!(search(browser, "0xa004abc")?, "1 of 1");
    assert_has(
        &browser.text(CURRENT)?,
        &["host, 0x0a004000-0x0a004fff", "disk"],
    );
    // The first byte of RAM, in decimal digits.
    assert_eq!(search(browser, "1073741824")?, "1 of 1");
    assert_has(
        &browser.text(CURRENT)?,
        &["guest, 0x40000000-0x7fffffff", "identical"],
    );
    Ok(())
}

fn a_search_in_vain_says_so(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&small())?;
    assert_eq!(search(browser, "0xdead_0000")?, "Nothing is mapped there");
    assert_eq!(search(browser, "nobody")?, "No such name");
    assert_eq!(
        search(browser, "0xffff_ffff_ffff_ffff_ffff")?,
        "Nothing is mapped there"
    );
    Ok(())
}

const ROWS: &str = "document.querySelectorAll('.row').length";
const SUMMED_UP: &str = "document.querySelectorAll('.row .many').length";

fn zoom_sums_up_and_lists_again(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&many(20_000))?;
    // The page begins with the whole: every row but RAM is summed up, and all are on the screen.
    assert!(browser.number(SUMMED_UP)? > 10.0);
    assert!(browser.number(ROWS)? < 200.0);
    assert!(browser.number("view.scrollHeight - view.clientHeight")? < 2.0);
    browser.point_at(".row .many")?;
    assert_has(
        &browser.text(DETAILS)?,
        &["regions", "Zoom in here", "device-"],
    );
    for _ in 0..12 {
        browser.click("#zoomIn")?;
    }
    assert_eq!(browser.number(SUMMED_UP)?, 0.0);
    assert!(browser.number(ROWS)? > 2.0);
    browser.click("#zoomWhole")?;
    assert!(browser.number(SUMMED_UP)? > 10.0);
    browser.click("#zoomRead")?;
    assert_eq!(browser.number(SUMMED_UP)?, 0.0);
    browser.click("#zoomOut")?;
    assert!(browser.number(SUMMED_UP)? > 10.0);
    Ok(())
}

fn the_wheel_zooms_where_it_points(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&many(20_000))?;
    let below = "[...document.querySelectorAll('.row[data-side=\"0\"]')].find(\
                 (row) => row.getBoundingClientRect().bottom > 500)";
    let first = browser.number(&format!("{below}.dataset.first"))?;
    let end = browser.number(&format!("{below}.dataset.end"))?;
    browser.ask(
        "for (let turn = 0; turn < 10; turn++) view.dispatchEvent(new WheelEvent('wheel', \
         {deltaY: -200, ctrlKey: true, clientY: 500, bubbles: true, cancelable: true}))",
    )?;
    let found = browser.number(&format!("{below}.dataset.first"))?;
    assert!(
        first - 1.0 <= found && found <= end,
        "{first} <= {found} < {end}"
    );
    assert!(browser.number(&format!("{below}.dataset.end"))? - found < end - first);
    Ok(())
}

fn the_keyboard_does_everything(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&small())?;
    // Search is one key away; from there Escape leads to the map.
    browser.press("/")?;
    assert_eq!(browser.text("document.activeElement.id")?, "query");
    browser.press(Key::Escape)?;
    assert_eq!(browser.text("document.activeElement.id")?, "view");
    browser.press(Key::Down)?;
    assert_has(
        &browser.text(CURRENT)?,
        &["guest, 0x08000000-0x0800ffff", "emulated", "gic"],
    );
    browser.press(Key::Down)?;
    browser.press(Key::Down)?;
    assert_has(
        &browser.text(CURRENT)?,
        &[
            "guest, 0x0a000000-0x0a000fff",
            "host 0x0a004000-0x0a004fff",
            "disk",
        ],
    );
    // A screen reader is told of the same row.
    let active = "document.getElementById(view.getAttribute('aria-activedescendant'))";
    assert_has(
        &browser.text(&format!("{active}.getAttribute('aria-label')"))?,
        &["disk"],
    );
    assert_has(
        &browser.text(DETAILS)?,
        &["vm.toml:9: passthrough_devices[1] \"disk\""],
    );
    browser.press(Key::Right)?;
    assert_has(&browser.text(CURRENT)?, &["host, 0x0a004000-0x0a004fff"]);
    browser.press(Key::Left)?;
    assert_has(&browser.text(CURRENT)?, &["guest, 0x0a000000-0x0a000fff"]);
    browser.press(Key::End)?;
    assert_has(&browser.text(CURRENT)?, &["0x80000000-0xbfffffff", "alloc"]);
    browser.press(Key::Up)?;
    assert_has(
        &browser.text(CURRENT)?,
        &["0x40000000-0x7fffffff", "identical"],
    );
    browser.press(Key::Escape)?;
    assert_eq!(browser.text(OVERVIEW_IS_SHOWN)?, "true");
    let height = || browser.number("parseFloat(spacer.style.height)");
    let readable = height()?;
    browser.press("+")?;
    assert!(height()? > readable);
    browser.press("1")?;
    assert!((height()? - readable).abs() < 2.0);
    every_button_is_reached(browser)
}

fn every_button_is_reached(browser: &Browser<'_>) -> Result<(), Error> {
    browser.ask("document.activeElement.blur()")?;
    let mut reached = Vec::new();
    for _ in 0..9 {
        browser.press(Key::Tab)?;
        reached.push(browser.text("document.activeElement.id")?);
    }
    for id in [
        "query",
        "find",
        "zoomIn",
        "zoomOut",
        "zoomWhole",
        "zoomRead",
        "nextWarning",
        "view",
    ] {
        assert!(
            reached.iter().any(|reached| reached == id),
            "{id} is not in {reached:?}"
        );
    }
    let nameless = "[...document.querySelectorAll('button, input, [tabindex], [role=option]')].filter(\
        (one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).length";
    assert_eq!(browser.number(nameless)?, 0.0);
    Ok(())
}

fn the_pointer_explains(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&small())?;
    assert_eq!(browser.text(OVERVIEW_IS_SHOWN)?, "true");
    browser.point_at("#row-0-1 text")?;
    assert_has(&browser.text(DETAILS)?, &["uart", "vm.toml:8:"]);
    browser.point_at("#query")?;
    assert_eq!(browser.text(OVERVIEW_IS_SHOWN)?, "true");
    // What was clicked stays.
    browser.click("#row-1-1 text")?;
    browser.point_at("#query")?;
    assert_has(
        &browser.text(DETAILS)?,
        &["disk", "Host0x0a004000-0x0a004fff"],
    );
    assert_has(&browser.text(CURRENT)?, &["host, 0x0a004000-0x0a004fff"]);
    Ok(())
}

fn warnings_are_in_place(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&small())?;
    // The device on both sides.
    assert_eq!(
        browser.number("document.querySelectorAll('#picture .warned').length")?,
        2.0
    );
    browser.click("#nextWarning")?;
    assert_has(
        &browser.text(CURRENT)?,
        &["0x0b000000-0x0b000fff", "timer", "1 warning"],
    );
    assert_has(
        &browser.text(DETAILS)?,
        &["Warnings", "page-exposure", "0xf00 bytes"],
    );
    Ok(())
}

fn the_mouse_drags_the_picture(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&many(300))?;
    let move_to = |kind: &str, y: u32| {
        let event = serde_json::json!({"type": kind, "x": 600, "y": y, "button": "left", "buttons": 1, "clickCount": 1});
        browser.command("Input.dispatchMouseEvent", event)
    };
    move_to("mousePressed", 700)?;
    move_to("mouseMoved", 500)?;
    move_to("mouseMoved", 300)?;
    move_to("mouseReleased", 300)?;
    browser.wait_for("view.scrollTop > 300")?;
    // It was no click.
    assert_eq!(
        browser.number("document.querySelectorAll('.current').length")?,
        0.0
    );
    Ok(())
}
