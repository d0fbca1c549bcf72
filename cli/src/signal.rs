//! SIGINT, SIGTERM and SIGHUP: the first ends a run in order, the second ends the process at once.

/// The exit code after a second signal: the code that shells report after an interrupt.
const INTERRUPTED: i32 = 130;

/// Calls `end` at the first signal. A second signal ends the process.
pub fn on_first(end: impl Fn() + Send + 'static) -> Result<(), ctrlc::Error> {
    let mut is_ending = false;
    ctrlc::set_handler(move || {
        if is_ending {
            std::process::exit(INTERRUPTED);
        }
        is_ending = true;
        end();
    })
}
