//! A Postgres for the product to be measured on, with commits that last: it waits for the disk, as
//! one in earnest does. It ends when this is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::Outcome;

/// A running server with one empty database.
pub(super) struct Postgres {
    /// Where it is.
    pub(super) url: String,
    child: Child,
}

/// Postgres does not run as root.
const SCRIPT: &str = r#"
set -u
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb)")
folder=$(mktemp -d "$PLACE/postgres.XXXXXX") || exit 1
as=""
if [ "$(id -u)" = 0 ]; then
  chown nobody "$folder"
  as="setpriv --reuid=nobody --clear-groups --"
fi
trap 'kill -QUIT $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$folder"' EXIT
$as "$bin/initdb" -D "$folder/data" -U runplane -A trust -E UTF8 --locale=C >/dev/null || exit 1
$as "$bin/postgres" -D "$folder/data" -c listen_addresses= -c unix_socket_directories="$folder" \
  -c max_connections=100 -c shared_buffers=256MB -c max_wal_size=4GB </dev/null >/dev/null 2>&1 &
server=$!
until "$bin/pg_isready" -q -h "$folder"; do
  kill -0 $server || exit 1
  sleep 0.05
done
echo "$folder"
read -r _
"#;

impl Postgres {
    /// Starts one, with its data below a folder.
    pub(super) fn start(place: &std::path::Path) -> Outcome<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).env("PLACE", place).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut folder = String::new();
        let output = child.stdout.take().ok_or("no standard output")?;
        BufReader::new(output).read_line(&mut folder)?;
        let folder = folder.trim();
        if folder.is_empty() {
            return Err("Postgres did not start: install postgresql".into());
        }
        let url = format!("postgres://runplane@localhost/postgres?host={folder}");
        Ok(Self { url, child })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The shell reads the end of its input, and ends what it has started.
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}
