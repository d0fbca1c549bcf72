use std::time::Duration;

use lanekeeper::lane::LaneError;

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read, cache)]
    fn a(&self) -> Result<u8, LaneError>;
    #[lane(general, read, cache = 1h)]
    fn b(&self) -> Result<u8, LaneError>;
    #[lane(general, read, cache = "1 fortnight")]
    fn c(&self) -> Result<u8, LaneError>;
    #[lane(general, read, cache = "0s")]
    fn d(&self) -> Result<u8, LaneError>;
    #[lane(general, write, cache = "1h")]
    fn e(&self) -> Result<u8, LaneError>;
    #[lane(general, read, cache = "1h", retry = never)]
    fn f(&self) -> Result<u8, LaneError>;
    #[lane(general, read, cache_for = today)]
    fn g(&self) -> Result<u8, LaneError>;
    #[lane(general, read, cache = on)]
    fn h(&self) -> Result<u8, LaneError>;
    #[lane(response_ttl, read, cache = "1h", cache = off)]
    fn responses(&self) -> Result<u8, LaneError>;
    #[lane(general, read, cache = off)]
    fn i(&self, #[cfg(unix)] now: Duration) -> Result<u8, LaneError>;
}

fn main() {}
