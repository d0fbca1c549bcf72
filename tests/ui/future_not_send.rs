use std::rc::Rc;

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
    async fn forecast(&self) -> Result<u8, Failure>;
}

pub struct Client;

impl Weather for Client {
    async fn forecast(&self) -> Result<u8, Failure> {
        let shared = Rc::new(1);
        std::future::ready(()).await;
        Ok(*shared)
    }
}

fn main() {}
