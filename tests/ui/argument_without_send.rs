use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

use std::rc::Rc;

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(alerts, write)]
    fn send_alert(&self, alert: Rc<str>) -> Result<u8, Failure>;

    #[lane(general, read)]
    fn forecast(&self) -> Result<Rc<str>, Failure>;
}

fn main() {}
