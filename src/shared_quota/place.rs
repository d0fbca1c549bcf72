//! Where a process runs, so that another one on the same machine can tell whether it still does.
//!
//! A process that was killed is silent, as one that is cut off is, and its share is left alone for a while. On the same machine
//! the operating system knows the difference. That is looked up on Linux only, by the number and the start of the process within
//! the same boot and the same namespace of numbers; elsewhere nothing is known.

/// Where a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(String);

impl Place {
    /// Where this process runs.
    pub(super) fn here() -> Self {
        let here = machine().zip(start_of(std::process::id()));
        let place =
            here.map(|(machine, start)| format!("{machine} {} {start}", std::process::id()));
        Self(place.unwrap_or_else(|| "unknown".to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a process surely runs no more. `false` if it is unknown.
    pub(super) fn is_dead(&self, other: &str) -> bool {
        let mut words = other.rsplitn(3, ' ');
        let (Some(start), Some(id), Some(other_machine)) =
            (words.next(), words.next(), words.next())
        else {
            return false;
        };
        let Ok(id) = id.parse() else { return false };
        // Where this process cannot look itself up, it can look up no other one.
        let can_look =
            machine().as_deref() == Some(other_machine) && start_of(std::process::id()).is_some();
        can_look && start_of(id).as_deref() != Some(start)
    }
}

/// Returns the boot and the namespace of process numbers.
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.to_str()?))
}

/// Returns when a process started, by the kernel's count, if there is one with this number that is not dead.
fn start_of(id: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it is in parentheses, and may have any characters.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| start.to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_has_ended_is_dead_and_one_elsewhere_is_not_known_to_be() {
        let here = Place::here();
        assert!(!here.is_dead(here.as_str()));
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let start = start_of(child.id()).unwrap();
        let place = format!("{} {} {start}", machine().unwrap(), child.id());
        assert!(!here.is_dead(&place));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(here.is_dead(&place));
        assert!(!here.is_dead(&format!("another-boot pid:[1] {} {start}", child.id())));
        assert!(!here.is_dead("unknown"));
        // Its number was given to another process.
        assert!(here.is_dead(&format!("{} {} 1", machine().unwrap(), std::process::id())));
    }
}
