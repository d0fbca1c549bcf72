//! Signals: the first ends a run in order, the second ends the process at once. A gateway reads its file again on SIGHUP.

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
    /// SIGINT or SIGTERM.
    End,
    /// SIGHUP.
    Reload,
}

/// Returns the signals as they come. A second SIGINT or SIGTERM ends the process.
#[cfg(unix)]
pub fn listen() -> Result<Receiver<Signal>, std::io::Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut is_ending = false;
        for signal in &mut signals {
            let signal = if signal == SIGHUP { Signal::Reload } else { Signal::End };
            if signal == Signal::End && std::mem::replace(&mut is_ending, true) {
                std::process::exit(INTERRUPTED);
            }
            if sender.send(signal).is_err() && signal == Signal::Reload {
                // The service is ending already.
                continue;
            }
        }
    })?;
    Ok(receiver)
}

/// Returns the signals as they come. A second one ends the process.
#[cfg(not(unix))]
pub fn listen() -> Result<Receiver<Signal>, ctrlc::Error> {
    let (sender, receiver) = mpsc::channel();
    on_first(move || {
        // The receiver is gone if the service is ending already.
        let _ = sender.send(Signal::End);
    })?;
    Ok(receiver)
}
