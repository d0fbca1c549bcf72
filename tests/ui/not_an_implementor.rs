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
    fn forecast(&self) -> Result<u8, Failure>;
}

pub fn start() {
    let _ = WeatherProxy::builder(String::from("no weather"));
}

fn main() {}
