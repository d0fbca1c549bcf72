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
    unsafe fn dangerous(&self) -> Result<u8, Failure>;
}

#[lanekeeper::proxy]
pub unsafe trait Dangerous: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<u8, Failure>;
}

fn main() {}
