//! The files of the page. They are part of the program, so nothing is loaded from elsewhere.

use bytes::Bytes;
use hyper::{Response, StatusCode};

use super::json;
use crate::body::ReplyBody;

/// The files, with their types.
const FILES: &[(&str, &str, &str)] =
    &[("", "text/html; charset=utf-8", include_str!("../page/index.html"))];

/// Returns a file of the page.
pub(super) fn file(name: &str) -> Option<Response<ReplyBody>> {
    let (_, kind, text) = FILES.iter().find(|(known, _, _)| *known == name)?;
    Some(json::with_type(StatusCode::OK, kind, Bytes::from_static(text.as_bytes())))
}
