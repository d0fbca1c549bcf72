use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self, city: &str) -> Option<u8>;

    #[lane(alerts, write)]
    fn send_alert(&self, text: &str);
}

fn main() {}
