use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy]
pub struct Weather {
    pub city: String,
}

#[lanekeeper::proxy]
impl Weather {
    pub fn city(&self) -> &str {
        &self.city
    }
}

#[lanekeeper::proxy]
fn forecast() {}

fn main() {}
