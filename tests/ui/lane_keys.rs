use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read, urgency = 1)]
    fn unknown_key(&self) -> Result<(), Failure>;

    #[lane(general, raed)]
    fn misspelt(&self) -> Result<(), Failure>;

    #[lane(general)]
    fn no_effect(&self) -> Result<(), Failure>;

    #[lane(read)]
    fn no_name(&self) -> Result<(), Failure>;

    #[lane]
    fn nothing(&self) -> Result<(), Failure>;

    #[lane()]
    fn nothing_in_brackets(&self) -> Result<(), Failure>;

    #[lane("general", read)]
    fn quoted(&self) -> Result<(), Failure>;

    #[lane(general, read, write)]
    fn both(&self) -> Result<(), Failure>;

    #[lane(general read)]
    fn no_comma(&self) -> Result<(), Failure>;

    #[lane(general, read)]
    #[lane(alerts, read)]
    fn two_lanes(&self) -> Result<(), Failure>;

    #[lane(general, read)]
    #[direct]
    fn lane_and_direct(&self) -> Result<(), Failure>;

    #[direct(general)]
    fn direct_with_keys(&self) -> Result<(), Failure>;

    #[lane(general, read, first = prepare, retry = never)]
    fn first_and_once(&self) -> Result<(), Failure>;

    #[cfg_attr(all(), lane(general, read))]
    fn in_cfg_attr(&self) -> Result<(), Failure> {
        Ok(())
    }
}

fn main() {}
