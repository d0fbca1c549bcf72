//! The results of a run as JSON, for other programs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lanekeeper::cache::CacheStats;
use lanekeeper::order_guard::{RecoveredOrder, RecoveredOutcome};
use lanekeeper::quota::Limits;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::meter::{StrategySummary, WireStats};

/// The results of a run.
pub struct Report {
    pub took: Duration,
    pub limits: Limits,
    pub strategies: StrategySummary,
    pub wire: BTreeMap<&'static str, WireStats>,
    pub queue: BTreeMap<&'static str, Vec<Duration>>,
    pub cache: Option<CacheStats>,
    /// The outcomes of the orders that an earlier run left in the journal.
    pub recovered: Vec<RecoveredOrder>,
    /// The orders of this run that turned up late.
    pub turned_up: Vec<RecoveredOrder>,
    /// The refused requests as the simulated exchange counted them; `None` at an address.
    pub refused: Option<u64>,
}

/// The file of the report. It is written to a temporary file and renamed when complete, so an older report is kept
/// until there is a new one.
pub struct ReportFile {
    path: PathBuf,
    temporary: PathBuf,
}

impl ReportFile {
    /// Tries to create the file, so that an unusable path is reported before the run.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".part");
        let file = Self { path: path.to_owned(), temporary: temporary.into() };
        let tried = File::create(&file.temporary).and_then(|_| fs::remove_file(&file.temporary));
        match tried {
            Ok(()) if path.is_dir() => Err(file.failure("it is a folder")),
            Ok(()) => Ok(file),
            Err(error) => Err(file.failure(error)),
        }
    }

    /// Writes `report`, with the results of the bare crowd.
    pub fn write(&self, report: &Report, bare: Option<&Report>) -> Result<(), Failure> {
        let text = report.to_json(bare)?;
        fs::write(&self.temporary, text)
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .map_err(|error| self.failure(error))
    }

    fn failure(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(format!("--report {}: {why}", self.path.display()))
    }
}

impl Report {
    pub fn sent(&self) -> u64 {
        self.wire.values().map(|lane| lane.sent).sum()
    }

    pub fn throttled(&self) -> u64 {
        self.wire.values().map(|lane| lane.throttled).sum()
    }

    pub fn answered_from_memory(&self) -> u64 {
        self.cache.map_or(0, |cache| cache.served())
    }

    /// Returns the share of a lane's quota that was sent, by its narrowest window.
    pub fn quota_used(&self, lane: &str) -> f64 {
        let sent = self.wire.get(lane).map_or(0, |lane| lane.sent) as f64;
        let windows = self.limits.of_lane(lane).map_or(&[][..], |quota| quota.windows());
        let allowed = |window: &lanekeeper::quota::Window| {
            f64::from(window.limit) * self.took.as_secs_f64() / window.length.as_secs_f64()
        };
        let least = windows.iter().map(allowed).fold(f64::INFINITY, f64::min);
        sent / least
    }

    /// Returns the report as JSON, with the results of the bare crowd. It ends with a line break.
    pub fn to_json(&self, bare: Option<&Self>) -> Result<String, Failure> {
        let mut report = self.members();
        if let Some(bare) = bare {
            let bare = json!({
                "seconds": bare.took.as_secs_f64(),
                "sent": bare.sent(),
                "throttled": bare.throttled(),
            });
            report.insert("bare".into(), bare);
        }
        let text = serde_json::to_string_pretty(&Value::Object(report));
        text.map(|text| text + "\n").map_err(|error| Failure::new(error.to_string()))
    }

    fn members(&self) -> Map<String, Value> {
        let lanes: Map<String, Value> = self
            .limits
            .lanes()
            .map(|(lane, _)| {
                let sent = self.wire.get(lane).map_or(0, |lane| lane.sent);
                (lane.to_owned(), json!({ "sent": sent, "quota_used": self.quota_used(lane) }))
            })
            .collect();
        let mut report = Map::new();
        report.insert("seconds".into(), json!(self.took.as_secs_f64()));
        report.insert(
            "calls".into(),
            json!({
                "asked": self.strategies.asked,
                "sent": self.sent(),
                "from_cache": self.answered_from_memory(),
                "throttled": self.throttled(),
            }),
        );
        if let Some(cache) = self.cache {
            let quotes = json!({
                "asked": cache.lookups(),
                "share_from_memory": cache.hit_ratio(),
                "shared_a_request": cache.joined,
                "calls": cache.batches,
                "calls_saved": cache.calls_saved(),
                "instruments_per_call": cache.keys_per_batch(),
                "mean_age_seconds": cache.mean_age.as_secs_f64(),
                "oldest_seconds": cache.oldest.as_secs_f64(),
            });
            report.insert("quotes".into(), quotes);
        }
        report.insert("lanes".into(), Value::Object(lanes));
        report.insert("orders".into(), json!(self.strategies.orders.listed));
        report.insert("not_sent".into(), json!(self.strategies.orders.not_sent));
        report.insert("recovered".into(), self.recovered.iter().map(recovered).collect());
        report.insert("turned_up".into(), self.turned_up.iter().map(recovered).collect());
        report
    }
}

fn recovered(recovery: &RecoveredOrder) -> Value {
    let (outcome, id) = match &recovery.outcome {
        RecoveredOutcome::Placed(id) => ("placed", Some(id.as_str())),
        RecoveredOutcome::Rejected(_) => ("rejected", None),
        RecoveredOutcome::Absent(_) => ("absent", None),
        _ => ("unknown", None),
    };
    json!({ "tag": recovery.tag, "outcome": outcome, "order_id": id })
}
