use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

pub struct Alert;

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(alerts, write)]
    fn send_alert(&self, alert: &Alert) -> Result<u8, Failure>;

    #[lane(alerts, write)]
    fn perhaps(&self, alert: Option<&Alert>) -> Result<u8, Failure>;
}

fn main() {}
