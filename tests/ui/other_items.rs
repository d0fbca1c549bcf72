use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

macro_rules! methods {
    () => {};
}

#[lanekeeper::proxy]
pub trait Weather<'a>: Send + Sync {
    const CITY: &'static str;

    type Row<T>;

    methods!();
}

#[lanekeeper::proxy]
pub trait ForSizedOnly: Send + Sync {
    fn forecast(&self) -> Result<(), Failure>
    where
        Self: Sized;

    #[direct]
    fn name(&self) -> u8
    where
        Self: Sized,
    {
        0
    }
}

fn main() {}
