use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    fn forecast(&self, city: &str) -> Result<u8, Failure>;
}

// The trait is still defined, so this is no further error.
pub struct Client;

impl Weather for Client {
    fn forecast(&self, _: &str) -> Result<u8, Failure> {
        Ok(0)
    }
}

fn main() {}
