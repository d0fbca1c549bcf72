use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(limits, read)]
    fn a(&self) -> Result<(), Failure>;

    #[lane(config, read)]
    fn settings(&self) -> Result<(), Failure>;

    #[lane(clock, read)]
    fn b(&self) -> Result<(), Failure>;

    #[lane(observer, read)]
    fn c(&self) -> Result<(), Failure>;

    #[lane(build, read)]
    fn d(&self) -> Result<(), Failure>;

    #[lane(builder, read)]
    fn e(&self) -> Result<(), Failure>;

    #[lane(new, read)]
    fn f(&self) -> Result<(), Failure>;

    #[direct]
    fn lanes(&self) -> u8;

    #[direct]
    fn with(&self) -> u8;

    #[lane(general, read)]
    fn submit(&self) -> Result<(), Failure>;

    #[direct]
    fn status(&self) -> u8;

    fn shutdown(&self) {}
}

fn main() {}
