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
    fn forecast<C: AsRef<str>>(&self, city: C) -> Result<u8, Failure>;

    fn of_array<const N: usize>(&self, cities: [u8; N]) -> usize {
        cities.len()
    }

    #[direct]
    fn hidden(&self, city: impl AsRef<str>) -> u8;

    #[direct]
    fn same(&self, other: &Self) -> bool;
}

fn main() {}
