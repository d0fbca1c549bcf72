use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy]
pub trait Weather {
    #[lane(general, read)]
    fn mutable(&mut self) -> Result<u8, Failure>;

    #[direct]
    fn consumed(self: Box<Self>) -> u8;

    #[lane(general, read)]
    fn none() -> Result<u8, Failure>;
}

fn main() {}
