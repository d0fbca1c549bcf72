use lanekeeper::lane::LaneError;

#[derive(Clone)]
pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[derive(Clone)]
pub struct Place;

pub struct Report;

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read, cache = "1h")]
    fn at(&self, latitude: f64) -> Result<u8, Failure>;

    #[lane(general, read, cache = "1h")]
    fn near(&self, city: &str, place: &Place) -> Result<u8, Failure>;

    #[lane(general, read, cache = "1h")]
    fn report(&self, city: &str) -> Result<Report, Failure>;
}

fn main() {}
