//! A private Redis: on a free port of this machine, keeping nothing, killed, stopped and started
//! again as a test wants. It ends when the test process does, however that ends.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

/// A Redis of its own.
pub struct Redis {
    port: u16,
    shell: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _child: Child,
}

/// Debian has the program under another name too, in a package without a service.
const SCRIPT: &str = r#"
set -u
folder=$(mktemp -d "${TMPDIR:-/tmp}/runplane-redis.XXXXXX")
program=$(command -v redis-server || command -v redis-check-rdb) || exit 1
ln -s "$program" "$folder/redis-server"
trap 'kill -9 $server 2>/dev/null; rm -rf "$folder"' EXIT
start() {
  "$folder/redis-server" --bind 127.0.0.1 --port "$PORT" --save "" --appendonly no --dir "$folder" \
    </dev/null >>"$folder/log" 2>&1 &
  server=$!
  until redis-cli -h 127.0.0.1 -p "$PORT" ping 2>/dev/null | grep -q PONG; do
    kill -0 $server || { cat "$folder/log" >&2; exit 1; }
    sleep 0.02
  done
}
start
echo done
while read -r word; do
  case $word in
    start) start ;;
    kill) kill -9 $server; wait $server 2>/dev/null ;;
    *) kill -$word $server ;;
  esac
  echo done
done
"#;

impl Redis {
    /// Starts one.
    pub fn start() -> Self {
        // A port that was free may have been taken before Redis comes to it.
        (0..5).find_map(|_| Self::try_start()).expect("Redis did not start: install redis-tools")
    }

    fn try_start() -> Option<Self> {
        let port = free_port();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).env("PORT", port.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let input = child.stdin.take().expect("an input");
        let output = child.stdout.take().expect("an output");
        let redis =
            Self { port, shell: Mutex::new((input, BufReader::new(output))), _child: child };
        redis.answered().then_some(redis)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What a configuration says of it. A machine that is busy with tests may be slow.
    pub fn config(&self) -> String {
        format!("[redis]\nurl = {:?}\ntimeout_ms = 2000\n", self.url())
    }

    /// Ends it at once; connections break.
    pub fn kill(&self) {
        self.say("kill");
    }

    /// Starts it again, empty, at the same port.
    pub fn restart(&self) {
        self.say("start");
    }

    /// Stops it: it takes connections, and answers nothing.
    pub fn stall(&self) {
        self.say("STOP");
    }

    /// Lets it go on after [`Redis::stall`].
    pub fn resume(&self) {
        self.say("CONT");
    }

    fn say(&self, word: &str) {
        let mut shell = self.shell.lock().expect("a shell");
        writeln!(shell.0, "{word}").expect("the shell listens");
        drop(shell);
        assert!(self.answered(), "Redis did not {word}");
    }

    fn answered(&self) -> bool {
        let (mut shell, mut line) = (self.shell.lock().expect("a shell"), String::new());
        shell.1.read_line(&mut line).is_ok() && line.trim() == "done"
    }
}

/// A port below those that connections of other tests come from.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 100).expect("small") * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
