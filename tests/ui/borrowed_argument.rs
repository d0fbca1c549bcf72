use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

use std::borrow::Cow;
use std::fmt::Debug;

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read)]
    fn mutable(&self, into: &mut String) -> Result<(), Failure>;

    #[lane(general, read)]
    fn nested(&self, cities: &[&str]) -> Result<(), Failure>;

    #[lane(general, read)]
    fn in_vec(&self, cities: Vec<&str>) -> Result<(), Failure>;

    #[lane(general, read)]
    fn in_cow(&self, city: Cow<'_, str>) -> Result<(), Failure>;

    #[lane(general, read)]
    fn in_option(&self, into: Option<&mut String>) -> Result<(), Failure>;

    #[lane(general, read)]
    fn object(&self, city: &(dyn Debug + Sync)) -> Result<(), Failure>;
}

fn main() {}
