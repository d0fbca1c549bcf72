//! A script that Redis runs, called by its hash.

use ::redis::{Cmd, Connection, ErrorKind, RedisError, ServerErrorKind, Value, cmd};

/// A script, and its hash.
pub(crate) struct Script {
    pub(crate) code: &'static str,
    pub(crate) sha1: String,
}

impl Script {
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, sha1: ::redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs the script by its hash, and by its text if Redis does not know it, which then does. `add` adds the number of keys,
    /// the keys and the arguments.
    pub(crate) fn run(
        &self,
        connection: &mut Connection,
        add: impl Fn(&mut Cmd),
    ) -> Result<Value, RedisError> {
        let mut by_hash = cmd("EVALSHA");
        add(by_hash.arg(&self.sha1));
        match by_hash.query(connection) {
            Err(error) if is_unknown_script(&error) => {
                let mut by_text = cmd("EVAL");
                add(by_text.arg(self.code));
                by_text.query(connection)
            }
            result => result,
        }
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
