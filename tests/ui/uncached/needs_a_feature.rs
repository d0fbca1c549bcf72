use lanekeeper::lane::LaneError;

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read, cache = "1h")]
    fn report(&self, city: &str) -> Result<u8, LaneError>;

    // Without the feature it has no effect.
    #[lane(general, read, cache = off)]
    fn at(&self, latitude: f64) -> Result<u8, LaneError>;
}

fn main() {}
