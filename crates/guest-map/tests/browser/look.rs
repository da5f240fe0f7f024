//! How the page looks: sizes, dark and light, print, without scripts.

use serde_json::json;

use crate::Case;
use crate::driver::{Browser, Error};
use crate::pages::{many, small};

pub(crate) const CASES: &[Case] = &[
    (
        "no_text_stands_on_another_at_any_size",
        no_text_stands_on_another,
    ),
    ("a_board_with_300_devices_is_listed", a_board_is_listed),
    (
        "a_hundred_thousand_regions_are_usable",
        a_hundred_thousand_regions,
    ),
    ("it_is_dark_or_light_as_the_reader_wants", dark_or_light),
    ("print_has_the_whole_picture", print_has_the_whole_picture),
    ("without_scripts_the_picture_is_there", without_scripts),
];

/// Pairs of texts of the picture that overlap, and texts that leave it.
const OVERLAPS: &str = "
    const whole = picture.getBoundingClientRect();
    const texts = [...picture.querySelectorAll('text')].map((text) => [text.getBoundingClientRect(), text.textContent]);
    const heading = texts.filter(([, text]) => text.endsWith('-physical')).map(([area]) => area.bottom);
    const below = texts.filter(([area, text]) => text.endsWith('-physical') || area.top > Math.max(...heading));
    const bad = below.filter(([area]) => area.left < whole.left - 1 || area.right > whole.right + 1);
    const pairs = bad.map(([, text]) => text + ' leaves the picture');
    for (const [one, text] of below) for (const [other, otherText] of below) {
      if (one === other) continue;
      const apart = one.right <= other.left + 1 || other.right <= one.left + 1 ||
        one.bottom <= other.top + 3 || other.bottom <= one.top + 3;
      if (!apart) pairs.push(text + ' / ' + otherText);
    }
    return pairs;";

fn assert_readable(browser: &Browser<'_>, when: &str) -> Result<(), Error> {
    let pairs = browser.ask(OVERLAPS)?;
    assert_eq!(pairs, json!([]), "{when}");
    assert!(
        browser.number("picture.querySelectorAll('text').length")? > 4.0,
        "{when}"
    );
    Ok(())
}

fn no_text_stands_on_another(browser: &Browser<'_>) -> Result<(), Error> {
    for (name, page) in [
        ("small", small()),
        ("300", many(300)),
        ("20000", many(20_000)),
    ] {
        browser.open(&page)?;
        for (width, height) in [(380, 700), (800, 600), (1400, 900), (2200, 1300)] {
            browser.resize(width, height)?;
            for button in ["#zoomWhole", "#zoomIn", "#zoomRead", "#zoomIn"] {
                browser.click(button)?;
                browser.wait_for("picture.getAttribute('width') == view.clientWidth")?;
                assert_readable(browser, &format!("{name}, {width} x {height}, {button}"))?;
            }
        }
    }
    Ok(())
}

fn a_board_is_listed(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&many(300))?;
    assert_eq!(
        browser.number("document.querySelectorAll('.row .many').length")?,
        0.0
    );
    let texts = browser.text("picture.textContent")?;
    for part in [
        "memory_regions[0]",
        "device-0",
        "device-10",
        "0x0100000000-0x0100000fff",
    ] {
        assert!(texts.contains(part), "{part} is not in {texts}");
    }
    Ok(())
}

fn a_hundred_thousand_regions(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&many(100_000))?;
    for zoom in ["#zoomWhole", "#zoomIn", "#zoomIn", "#zoomIn", "#zoomRead"] {
        browser.click(zoom)?;
        let elements = browser.number("picture.querySelectorAll('*').length")?;
        assert!(elements < 2000.0, "{elements} elements after {zoom}");
    }
    browser.type_into("#query", "device-99999")?;
    browser.click("#find")?;
    let current = browser.text("document.querySelector('.current').getAttribute('aria-label')")?;
    assert!(current.contains("device-99999"), "{current}");
    Ok(())
}

fn prefer(browser: &Browser<'_>, scheme: &str) -> Result<(), Error> {
    let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    browser
        .command("Emulation.setEmulatedMedia", features)
        .map(drop)
}

/// How bright the first of these is, from 0 to 255.
fn brightness(browser: &Browser<'_>, of: &str) -> Result<f64, Error> {
    browser.number(&format!(
        "{of}.match(/[0-9]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3"
    ))
}

fn dark_or_light(browser: &Browser<'_>) -> Result<(), Error> {
    let paper = "getComputedStyle(document.body).backgroundColor";
    let ink = "getComputedStyle(picture.querySelector('text')).fill";
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        prefer(browser, scheme)?;
        browser.open(&small())?;
        assert_eq!(brightness(browser, paper)? < 128.0, is_dark, "{scheme}");
        assert_eq!(brightness(browser, ink)? > 128.0, is_dark, "{scheme}");
    }
    Ok(())
}

fn print_has_the_whole_picture(browser: &Browser<'_>) -> Result<(), Error> {
    browser.open(&many(300))?;
    let pages = |pdf: &[u8]| {
        let text = String::from_utf8_lossy(pdf);
        text.matches("/Type /Page\n").count()
    };
    let pdf = browser.print()?;
    assert!(pdf.starts_with(b"%PDF-"));
    // 300 rows do not fit on one page, and one row does not take one.
    assert!((5..60).contains(&pages(&pdf)), "{} pages", pages(&pdf));
    browser.command("Emulation.setEmulatedMedia", json!({"media": "print"}))?;
    let is_visible = |id: &str| {
        browser.text(&format!(
            "document.getElementById('{id}').checkVisibility()"
        ))
    };
    for (id, expected) in [
        ("sheets", "true"),
        ("overview", "true"),
        ("view", "false"),
        ("tools", "false"),
    ] {
        assert_eq!(is_visible(id)?, expected, "{id}");
    }
    let texts = browser.text("document.getElementById('sheets').textContent")?;
    assert!(texts.contains("device-0") && texts.contains("device-299"));
    Ok(())
}

fn without_scripts(browser: &Browser<'_>) -> Result<(), Error> {
    browser.command(
        "Emulation.setScriptExecutionDisabled",
        json!({"value": true}),
    )?;
    browser.open(&small())?;
    let document = browser.command("DOM.getDocument", json!({}))?;
    let root = document["root"]["nodeId"].clone();
    let find = |selector: &str| {
        let wanted = json!({"nodeId": root, "selector": selector});
        let found = browser.command("DOM.querySelector", wanted)?;
        browser.command("DOM.getBoxModel", json!({"nodeId": found["nodeId"]}))
    };
    let sheet = find("#sheets svg")?;
    assert!(sheet["model"]["height"].as_f64() > Some(200.0), "{sheet}");
    assert!(find("#overview").is_ok());
    // What is not displayed has no box.
    assert!(find("#tools").is_err() && find("#view").is_err());
    Ok(())
}
