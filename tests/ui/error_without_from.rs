pub struct Failure;

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self, city: &str) -> Result<u8, Failure>;
}

fn main() {}
