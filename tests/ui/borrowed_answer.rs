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
    fn name(&self) -> Result<&str, Failure>;

    #[lane(general, read)]
    fn inside<'a>(&'a self) -> Result<std::borrow::Cow<'a, str>, Failure>;

    // Borrowed for `'static`, so it is accepted.
    #[lane(general, read)]
    fn known(&self) -> Result<&'static str, Failure>;
}

fn main() {}
