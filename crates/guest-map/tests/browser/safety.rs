//! Nothing leaves the page, and nothing in a name acts.

use std::net::TcpListener;

use serde_json::Value;

use crate::Case;
use crate::driver::{Browser, Error};
use crate::pages::{page, small};

pub(crate) const CASES: &[Case] = &[
    ("no_request_leaves_the_page", no_request_leaves_the_page),
    (
        "the_policy_blocks_what_would_leave",
        the_policy_blocks_what_would_leave,
    ),
    ("names_do_not_act", names_do_not_act),
];

/// What the page at `address` has asked for, from the browser's own log. (The browser has pages of its own.)
fn requests(browser: &Browser<'_>, address: &str) -> Result<Vec<String>, Error> {
    let mut addresses = Vec::new();
    for message in browser.log("performance")? {
        let message: Value = serde_json::from_str(&message)?;
        let message = &message["message"];
        let of_page = &message["params"];
        if message["method"] == "Network.requestWillBeSent" && of_page["documentURL"] == address {
            let asked = of_page["request"]["url"].as_str();
            addresses.push(asked.unwrap_or_default().to_owned());
        }
    }
    Ok(addresses)
}

fn no_request_leaves_the_page(browser: &Browser<'_>) -> Result<(), Error> {
    let address = browser.open(&small())?;
    browser.click("#nextWarning")?;
    browser.type_into("#query", "uart")?;
    browser.click("#find")?;
    browser.print()?;
    let asked = requests(browser, &address)?;
    assert!(asked.contains(&address), "{asked:?}");
    let foreign = asked
        .iter()
        .filter(|asked| **asked != address && !asked.starts_with("data:"));
    assert_eq!(foreign.count(), 0, "{asked:?}");
    assert_eq!(browser.log("browser")?, [""; 0], "the console");
    Ok(())
}

fn the_policy_blocks_what_would_leave(browser: &Browser<'_>) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let outside = format!("http://{}", listener.local_addr()?);
    browser.open(&small())?;
    browser.ask(&format!(
        "window.blocked = [];
         document.addEventListener('securitypolicyviolation', (event) => blocked.push(event.effectiveDirective));
         fetch('{outside}/fetch').catch(() => 0);
         new Image().src = '{outside}/image';
         const script = document.createElement('script'); script.src = '{outside}/script'; document.body.append(script);
         const inline = document.createElement('script'); inline.textContent = 'window.ran = 1'; document.body.append(inline);"
    ))?;
    browser.wait_for("blocked.length >= 4")?;
    assert_eq!(browser.text("window.ran")?, "undefined");
    assert!(listener.accept().is_err(), "somebody connected");
    Ok(())
}

fn names_do_not_act(browser: &Browser<'_>) -> Result<(), Error> {
    let name = r#"</script><script>window.ran = 1</script><img src=x onerror="window.ran = 1">"#;
    let devices = format!(
        "passthrough_devices = [['''{name}''', 0x1000, 0x9000, 0x100], ['''\u{5d0}\u{5d1}''', 0x5000, 0x5000, 0x1000]]"
    );
    browser.open(&page("", &devices))?;
    browser.type_into("#query", name)?;
    browser.click("#find")?;
    let details = browser.text("document.querySelector('#details h2').textContent")?;
    assert_eq!(details, name);
    browser.click("#row-0-1 text")?;
    assert_eq!(
        browser.text("document.querySelector('#details h2').textContent")?,
        "\u{5d0}\u{5d1}"
    );
    assert_eq!(browser.text("window.ran")?, "undefined");
    assert_eq!(
        browser.number("document.querySelectorAll('img, script').length")?,
        2.0
    );
    assert_eq!(browser.log("browser")?, [""; 0], "the console");
    Ok(())
}
