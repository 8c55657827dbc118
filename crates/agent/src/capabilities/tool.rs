//! The system's own programs, asked on behalf of a tech: found in the search path, given words and never a line, with bounds
//! on time and output.

use crate::os;
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// More output than this is not read.
const MAX_OUTPUT_BYTES: u64 = 16 * 1024 * 1024;
/// What is shown of what a program complains about.
const MAX_COMPLAINT_BYTES: u64 = 4 * 1024;

/// A program that is there.
#[derive(Debug, Clone)]
pub struct Tool(PathBuf);

impl Tool {
    /// `missing` says what a machine without it cannot do.
    pub fn find(name: &str, missing: &str) -> Result<Self, ChannelError> {
        let search = os::search_path();
        let found = std::env::split_paths(&search)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|path| os::is_executable(path));
        found.map(Self).ok_or_else(|| ChannelError::new(ErrorCode::Unsupported, missing))
    }

    /// With these words; speaks English, waits for nobody, and is ended with what comes back.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        os::set_base_environment(command.as_std_mut());
        command.args(words).env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// What it prints. One that fails is an error with what it complains about.
    pub async fn run(&self, words: &[&str], within: Duration) -> Result<String, ChannelError> {
        let work = async {
            let mut child = os::spawn(&mut self.command(words))?;
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let (output, complaint) =
                tokio::join!(all(stdout, MAX_OUTPUT_BYTES), all(stderr, MAX_COMPLAINT_BYTES));
            Ok::<_, io::Error>((child.wait().await?, output?, complaint?))
        };
        match timeout(within, work).await {
            Ok(Ok((status, output, _))) if status.success() => Ok(output),
            Ok(Ok((status, _, complaint))) => Err(complained(&complaint, &status.to_string())),
            Ok(Err(error)) => Err(ChannelError::new(ErrorCode::Failed, error.to_string())),
            Err(_) => Err(ChannelError::new(ErrorCode::Failed, "the system does not answer in time")),
        }
    }
}

/// Reads up to `limit` bytes, and the rest for nothing, so that who writes is not held up.
async fn all(from: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<String> {
    let Some(mut from) = from else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    (&mut from).take(limit).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What programs of the system say when something is not possible.
fn complained(complaint: &str, status: &str) -> ChannelError {
    let text = complaint.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(status);
    let has = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    let code = if has(&["not been booted with systemd", "Failed to connect to bus"]) {
        ErrorCode::Unsupported
    } else if has(&["not found", "could not be found", "not loaded", "does not exist", "Could not find"]) {
        ErrorCode::NotFound
    } else if has(&["Access denied", "ermission denied", "not permitted", "authentication required"]) {
        ErrorCode::PermissionDenied
    } else {
        ErrorCode::Failed
    };
    ChannelError::new(code, text.chars().take(500).collect::<String>())
}

/// Lines of what a program prints, none of them longer than a bound; a longer one is left out.
pub struct Lines<R> {
    from: BufReader<R>,
    longest: usize,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads `from`.
    pub fn new(from: R, longest: usize) -> Self {
        Self { from: BufReader::new(from), longest, line: Vec::new() }
    }

    /// The next one; `None` at the end. What was read is kept when it is not waited for.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let buffer = self.from.fill_buf().await?;
            if buffer.is_empty() {
                let line = std::mem::take(&mut self.line);
                return Ok(Some(line).filter(|line| !line.is_empty() && line.len() <= self.longest));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let piece = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            let used = piece.len() + usize::from(end.is_some());
            // One byte more than may be tells that it is longer.
            let room = (self.longest + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            self.from.consume(used);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                if line.len() <= self.longest {
                    return Ok(Some(line));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_too_long_ones_not_at_all() {
        let text = b"one\n\n123456\n1234567\nlast".as_slice();
        let mut lines = Lines::new(text, 6);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(found, ["one", "", "123456", "last"]);
    }

    #[test]
    fn complaints_are_told_apart() {
        let code = |text| complained(text, "exit status: 1").code;
        assert_eq!(code("Failed to start x.service: Unit x.service not found."), ErrorCode::NotFound);
        assert_eq!(code("Failed to stop x.service: Access denied\nSee…"), ErrorCode::PermissionDenied);
        assert_eq!(
            code("System has not been booted with systemd as init system (PID 1). Can't operate."),
            ErrorCode::Unsupported
        );
        assert_eq!(
            complained("\n", "exit status: 3"),
            ChannelError::new(ErrorCode::Failed, "exit status: 3")
        );
    }
}
