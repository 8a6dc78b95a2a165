//! A Postgres of the cluster's own, which is ended as a crash would end it and started again, with
//! what it had committed. It ends when the test process does, however that ends.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;

use crate::harness::databases::{as_somebody_else, programs};

/// A server with one empty database.
pub struct Postgres {
    folder: String,
    shell: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _child: Child,
}

/// It does without fsync, since the machine itself goes on; but a commit is written before it is
/// answered, which is what a crash of the server tries.
const SCRIPT: &str = r#"
set -u
: "${BIN:=$(dirname "$(command -v initdb || echo /usr/bin/initdb)")}"
folder=$(mktemp -d "${TMPDIR:-/tmp}/runplane-chaos.XXXXXX")
trap 'kill -QUIT $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$folder"' EXIT
"$BIN/initdb" -D "$folder/data" -U runplane -A trust -E UTF8 --locale=C --no-sync \
  >"$folder/initdb" || exit 1
start() {
  "$BIN/postgres" -D "$folder/data" -c listen_addresses= -c unix_socket_directories="$folder" \
    -c max_connections=200 -c shared_buffers=64MB -c fsync=off -c synchronous_commit=on \
    </dev/null >>"$folder/log" 2>&1 &
  server=$!
  until "$BIN/pg_isready" -q -h "$folder"; do
    kill -0 $server || { cat "$folder/log" >&2; exit 1; }
    sleep 0.02
  done
}
start
echo "$folder"
while read -r word; do
  case $word in
    start) start ;;
    immediate) kill -QUIT $server; wait $server 2>/dev/null ;;
  esac
  echo done
done
"#;

impl Postgres {
    /// Starts one.
    pub fn start() -> Self {
        let mut command = as_somebody_else();
        command
            .args(["sh", "-c", SCRIPT])
            .env("BIN", programs().unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let input = child.stdin.take().expect("an input");
        let mut output = BufReader::new(child.stdout.take().expect("an output"));
        let mut folder = String::new();
        output.read_line(&mut folder).expect("Postgres answers");
        let folder = folder.trim().to_owned();
        assert!(!folder.is_empty(), "Postgres did not start: install postgresql");
        Self { folder, shell: Mutex::new((input, output)), _child: child }
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://runplane@localhost/postgres?host={}", self.folder)
    }

    /// What `pg_ctl -m immediate stop` does: nothing is finished, connections break.
    pub fn crash(&self) {
        self.say("immediate");
    }

    /// Starts it again: it recovers by its log.
    pub fn restart(&self) {
        self.say("start");
    }

    fn say(&self, word: &str) {
        let mut shell = self.shell.lock().expect("a shell");
        writeln!(shell.0, "{word}").expect("the shell listens");
        let mut line = String::new();
        let told = shell.1.read_line(&mut line).is_ok() && line.trim() == "done";
        drop(shell);
        assert!(told, "Postgres did not {word}");
    }
}
