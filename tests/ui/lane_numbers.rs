use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

macro_rules! handed_on {
    ($priority:literal) => {
        #[lanekeeper::proxy]
        pub trait HandedOn: Send + Sync {
            #[lane(general, read, priority = $priority)]
            fn forecast(&self) -> Result<(), Failure>;
        }
    };
}

handed_on!(1);

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read, priority = 0)]
    fn above_the_highest(&self) -> Result<(), Failure>;

    #[lane(general, read, priority = 11)]
    fn below_the_lowest(&self) -> Result<(), Failure>;

    #[lane(general, read, priority = 300)]
    fn far_below(&self) -> Result<(), Failure>;

    #[lane(general, read, priority = URGENT)]
    fn by_name(&self) -> Result<(), Failure>;

    #[lane(general, read, priority = "1")]
    fn quoted(&self) -> Result<(), Failure>;

    #[lane(general, read, priority)]
    fn no_priority(&self) -> Result<(), Failure>;

    #[lane(general, read, priority =)]
    fn no_value(&self) -> Result<(), Failure>;

    #[lane(general, read, priority = 1, priority = 2)]
    fn two_priorities(&self) -> Result<(), Failure>;

    #[lane(general, read, weight = 0)]
    fn weightless(&self) -> Result<(), Failure>;

    #[lane(general, read, weight = 4294967296)]
    fn too_heavy(&self) -> Result<(), Failure>;

    #[lane(general, read, weight = 1.5)]
    fn and_a_half(&self) -> Result<(), Failure>;

    #[lane(general, read, weight(2))]
    fn in_brackets(&self) -> Result<(), Failure>;

    #[lane(general, read, weight = 2, weight = 2)]
    fn two_weights(&self) -> Result<(), Failure>;

    #[lane(general, priority = 1, weight = 4294967295)]
    fn no_effect(&self) -> Result<(), Failure>;
}

fn main() {}
