use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy(quota = 10)]
pub trait Weather: Send + Sync {
    fn forecast(&self, city: &str) -> Result<u8, Failure>;

    #[lane(alerts, writes)]
    async fn send_alert(&mut self, text: &mut str) -> u8;
}

fn main() {}
