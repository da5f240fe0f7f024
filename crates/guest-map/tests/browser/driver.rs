//! A browser that a test drives.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities;
use thirtyfour::common::print::PrintParameters;
use thirtyfour::prelude::{By, DesiredCapabilities, WebDriver};
use thirtyfour::{LoggingPrefsLogLevel, TypingData, WebElement};
use tokio::runtime::{Builder, Runtime};

use crate::common::Folder;

pub(crate) type Error = Box<dyn std::error::Error>;

/// Neither asks anybody anything: what the browser does of its own is off. The sandbox needs rights that CI may not
/// have, and the pages are our own.
const SWITCHES: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--window-size=1400,900",
];

/// How long the page may take to do what it was told.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running chromedriver.
pub(crate) struct Driver {
    process: Child,
    address: String,
    runtime: Runtime,
}

impl Driver {
    /// Starts the program on a port that is free.
    pub(crate) fn start(program: &OsStr) -> Self {
        let mut process = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // The rest of its output is read away, or it would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            address: format!("http://127.0.0.1:{}", port.unwrap()),
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    /// Calls `use_browser` with a new browser, which is closed afterwards.
    pub(crate) fn with_browser(
        &self,
        chromium: &OsStr,
        use_browser: impl FnOnce(&Browser) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let folder = Folder::new();
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(chromium.to_str().unwrap())?;
        for switch in SWITCHES {
            wanted.add_arg(switch)?;
        }
        wanted.add_arg(&format!("--user-data-dir={}", folder.path("profile")))?;
        wanted.set_logging_prefs("browser", LoggingPrefsLogLevel::All)?;
        wanted.set_logging_prefs("performance", LoggingPrefsLogLevel::All)?;
        let window = self
            .runtime
            .block_on(WebDriver::new(&self.address, wanted))?;
        let browser = Browser {
            runtime: &self.runtime,
            window: window.clone(),
            folder,
        };
        let used = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| use_browser(&browser)));
        self.runtime.block_on(window.quit())?;
        match used {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A browser with one window, and a folder for pages.
pub(crate) struct Browser<'d> {
    runtime: &'d Runtime,
    window: WebDriver,
    folder: Folder,
}

impl Browser<'_> {
    /// Opens a page, and says where it is.
    pub(crate) fn open(&self, page: &str) -> Result<String, Error> {
        let address = format!("file://{}", self.folder.file("page.html", page));
        self.runtime.block_on(self.window.goto(&address))?;
        Ok(address)
    }

    /// What a script in the page returns.
    pub(crate) fn ask(&self, script: &str) -> Result<Value, Error> {
        let answer = self
            .runtime
            .block_on(self.window.execute(script, Vec::new()))?;
        Ok(answer.json().clone())
    }

    /// The text of an expression in the page.
    pub(crate) fn text(&self, expression: &str) -> Result<String, Error> {
        let answer = self.ask(&format!("return String({expression})"))?;
        Ok(answer.as_str().unwrap_or_default().into())
    }

    pub(crate) fn number(&self, expression: &str) -> Result<f64, Error> {
        let answer = self.ask(&format!("return Number({expression})"))?;
        answer
            .as_f64()
            .ok_or_else(|| format!("{expression} is {answer}").into())
    }

    /// Waits until an expression in the page is true: it draws with the next frame.
    pub(crate) fn wait_for(&self, expression: &str) -> Result<(), Error> {
        let start = std::time::Instant::now();
        while self.ask(&format!("return Boolean({expression})"))? != Value::Bool(true) {
            if start.elapsed() > PATIENCE {
                return Err(format!("in vain: {expression}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn find(&self, selector: &str) -> Result<WebElement, Error> {
        Ok(self.runtime.block_on(self.window.find(By::Css(selector)))?)
    }

    pub(crate) fn click(&self, selector: &str) -> Result<(), Error> {
        let element = self.find(selector)?;
        Ok(self.runtime.block_on(element.click())?)
    }

    /// Moves the mouse onto an element.
    pub(crate) fn point_at(&self, selector: &str) -> Result<(), Error> {
        let element = self.find(selector)?;
        let chain = self.window.action_chain().move_to_element_center(&element);
        Ok(self.runtime.block_on(chain.perform())?)
    }

    /// Types into an element.
    pub(crate) fn type_into(
        &self,
        selector: &str,
        keys: impl Into<TypingData>,
    ) -> Result<(), Error> {
        let element = self.find(selector)?;
        Ok(self.runtime.block_on(element.send_keys(keys))?)
    }

    /// Types wherever the focus is.
    pub(crate) fn press(&self, keys: impl Into<TypingData>) -> Result<(), Error> {
        let chain = self.window.action_chain().send_keys(keys);
        Ok(self.runtime.block_on(chain.perform())?)
    }

    /// Calls a method of the browser's own protocol.
    pub(crate) fn command(&self, method: &str, parameters: Value) -> Result<Value, Error> {
        let protocol = self.window.cdp();
        Ok(self
            .runtime
            .block_on(protocol.send_raw(method, parameters))?)
    }

    /// Changes the size of the page.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<(), Error> {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", size)?;
        self.wait_for(&format!("innerWidth === {width}"))
    }

    /// The page as a PDF.
    pub(crate) fn print(&self) -> Result<Vec<u8>, Error> {
        let print = self.window.print_page(PrintParameters::default());
        Ok(self.runtime.block_on(print)?)
    }

    /// The messages of one of the browser's logs, since the last time.
    pub(crate) fn log(&self, name: &str) -> Result<Vec<String>, Error> {
        let entries = self.runtime.block_on(self.window.get_log(name))?;
        Ok(entries.into_iter().map(|entry| entry.message).collect())
    }
}
