//! The files of the page. They are part of the program, so nothing is loaded from elsewhere.

use bytes::Bytes;
use hyper::{Response, StatusCode};

use super::json;
use crate::body::ReplyBody;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The files: their names, types and contents. The tests compare the list with the folder.
const FILES: &[(&str, &str, &str)] = &[
    ("api.js", SCRIPT, include_str!("../page/api.js")),
    ("app.js", SCRIPT, include_str!("../page/app.js")),
    ("chart.js", SCRIPT, include_str!("../page/chart.js")),
    ("clients.js", SCRIPT, include_str!("../page/clients.js")),
    ("dialogs.js", SCRIPT, include_str!("../page/dialogs.js")),
    ("dom.js", SCRIPT, include_str!("../page/dom.js")),
    ("format.js", SCRIPT, include_str!("../page/format.js")),
    ("hash.js", SCRIPT, include_str!("../page/hash.js")),
    ("health.js", SCRIPT, include_str!("../page/health.js")),
    ("icon.svg", SVG, include_str!("../page/icon.svg")),
    ("", HTML, include_str!("../page/index.html")),
    ("lanes.js", SCRIPT, include_str!("../page/lanes.js")),
    ("meter.js", SCRIPT, include_str!("../page/meter.js")),
    ("notices.js", SCRIPT, include_str!("../page/notices.js")),
    ("panels.js", SCRIPT, include_str!("../page/panels.js")),
    ("prices.js", SCRIPT, include_str!("../page/prices.js")),
    ("ring.js", SCRIPT, include_str!("../page/ring.js")),
    ("scans.js", SCRIPT, include_str!("../page/scans.js")),
    ("sse.js", SCRIPT, include_str!("../page/sse.js")),
    ("stream.js", SCRIPT, include_str!("../page/stream.js")),
    ("style.css", CSS, include_str!("../page/style.css")),
    ("theme.css", CSS, include_str!("../page/theme.css")),
    ("top.js", SCRIPT, include_str!("../page/top.js")),
];

/// Returns a file of the page.
pub(super) fn file(name: &str) -> Option<Response<ReplyBody>> {
    let (_, kind, text) = FILES.iter().find(|(known, _, _)| *known == name)?;
    Some(json::with_type(StatusCode::OK, kind, Bytes::from_static(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| if name == "index.html" { String::new() } else { name })
            .collect();
        names.sort();
        let mut served: Vec<_> = FILES.iter().map(|(name, _, _)| *name).collect();
        served.sort_unstable();
        assert_eq!(served, names);
    }
}
