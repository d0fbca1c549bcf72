use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

pub trait Named {}

#[lanekeeper::proxy]
pub trait Weather: Named + Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<u8, Failure>;
}

fn main() {}
