//! Signals: the first ends a run in order, the second ends the process at once. A gateway with a file reads it again on
//! SIGHUP.

use std::sync::mpsc::{self, Receiver};

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

/// What a signal asks of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM, or SIGHUP of a service that has nothing to read again.
    End,
    /// SIGHUP.
    Reload,
}

/// Returns the signals as they come. A second one that asks for the end ends the process at once. `can_reload` says
/// whether SIGHUP is a request to read the file again.
#[cfg(unix)]
pub fn listen(can_reload: bool) -> Result<Receiver<Signal>, std::io::Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut is_ending = false;
        for signal in &mut signals {
            let is_reload = can_reload && signal == SIGHUP;
            let signal = if is_reload { Signal::Reload } else { Signal::End };
            if signal == Signal::End && std::mem::replace(&mut is_ending, true) {
                std::process::exit(INTERRUPTED);
            }
            // The receiver is gone if the service is ending already.
            let _ = sender.send(signal);
        }
    })?;
    Ok(receiver)
}

/// Returns the signals as they come. A second one ends the process. None of them asks to read a file again.
#[cfg(not(unix))]
pub fn listen(_can_reload: bool) -> Result<Receiver<Signal>, ctrlc::Error> {
    let (sender, receiver) = mpsc::channel();
    on_first(move || {
        // The receiver is gone if the service is ending already.
        let _ = sender.send(Signal::End);
    })?;
    Ok(receiver)
}
