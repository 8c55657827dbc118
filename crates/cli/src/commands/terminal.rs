//! A shell on a machine, in this terminal.

use super::SessionOptions;
use crate::api::Api;
use clap::Args;
use std::process::ExitCode;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    session: SessionOptions,
    /// What to start, as the machine calls it: bash, powershell; absent: its own choice
    #[arg(long)]
    shell: Option<String>,
    /// As the person who is signed in there, instead of as root or SYSTEM
    #[arg(long)]
    as_user: bool,
}

#[cfg(not(unix))]
pub async fn run(_api: &Api, _options: Options) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "a shell in this terminal needs Linux or macOS here: the dashboard has one for every system"
    )
}

#[cfg(unix)]
pub use unix::run;

#[cfg(unix)]
mod unix {
    use super::*;
    use crate::tunnel::{Gone, Incoming, Sender, State};
    use anyhow::Context as _;
    use gururmm_protocol::command::RunContext;
    use gururmm_protocol::tunnel::terminal::{OpenTerminal, TerminalKind, TerminalMessage, TerminalSize};
    use gururmm_protocol::tunnel::{Flags, OpenChannel, Opened};
    use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
    use std::collections::VecDeque;
    use std::io::{self, Write as _};
    use tokio::io::AsyncReadExt as _;
    use tokio::signal::unix::{SignalKind, signal};

    /// What is typed and not yet known to have arrived, at most: beyond that nothing more is read.
    const MAX_UNCONFIRMED: usize = 64 * 1024;
    /// Said of a shell that sits at none.
    const LINES: &[u8] =
        b"[INFO] the machine has no terminals: its shell takes whole lines, and no key interrupts it\r\n";
    /// Ends the program from within: Ctrl-], as telnet has it.
    const ESCAPE: u8 = 0x1d;

    pub async fn run(api: &Api, options: Options) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            isatty(io::stdin()),
            "standard input is no terminal: `gururmm command` runs without one"
        );
        let session = options.session.open(api).await?;
        let shell = match &options.shell {
            None => None,
            Some(name) => {
                let State::Ready(ready) = session.state().borrow().clone() else {
                    anyhow::bail!("the machine is gone")
                };
                let known = ready.shells.iter().find(|shell| shell.name == *name || shell.program == *name);
                let known = known.with_context(|| {
                    let names: Vec<_> = ready.shells.iter().map(|shell| shell.name.as_str()).collect();
                    format!("the machine has no {name}; it has {}", names.join(", "))
                })?;
                Some(known.program.clone())
            }
        };
        let context = if options.as_user { RunContext::UserSession } else { RunContext::System };
        let open = OpenTerminal { shell, context, size: size() };
        let mut channel = session.channel(OpenChannel::Terminal(open), true).await?;
        let (sender, mut state) = (channel.sender(), session.state());
        let (mut input, mut resized) = (tokio::io::stdin(), signal(SignalKind::window_change())?);
        let mut typed = Typed::default();
        let mut buffer = [0; 4 * 1024];
        let mut raw: Option<Raw> = None;
        let (mut is_up, mut is_waiting) = (false, false);
        // Up to where the machine's output is on the screen.
        let mut shown = 0;
        let code = loop {
            tokio::select! {
                came = channel.next() => match came {
                    Some(Incoming::Opened(opened)) => {
                        if raw.is_none() {
                            raw = Some(Raw::begin()?);
                            if opened.terminal == Some(TerminalKind::Lines) {
                                write(LINES)?;
                            }
                            write(b"[INFO] Ctrl-] ends the session\r\n")?;
                        }
                        let missed = opened.from.saturating_sub(shown);
                        if missed > 0 {
                            let note = "bytes were shown meanwhile and are not kept";
                            write(format!("\r\n[WARNING] {missed} {note}\r\n").as_bytes())?;
                        }
                        typed.confirmed(&opened);
                        typed.send_again(&sender).await?;
                        sender.message(&TerminalMessage::Resize(size()), Flags::default()).await?;
                        is_up = true;
                    }
                    Some(Incoming::Data { offset, bytes, .. }) => {
                        shown = offset + bytes.len() as u64;
                        write(&bytes)?;
                    }
                    Some(Incoming::End(end)) => match end.error {
                        Some(error) => return Err(error.into()),
                        None => break end.exit_code.unwrap_or(0),
                    },
                    Some(Incoming::Message(_)) => {}
                    None => return Err(Gone.into()),
                },
                read = input.read(&mut buffer), if is_up && typed.has_room() => {
                    let bytes = &buffer[..read?];
                    if bytes.is_empty() || bytes.contains(&ESCAPE) {
                        break 0;
                    }
                    let offset = typed.push(bytes);
                    // Without a link it is sent when there is one again.
                    if matches!(*state.borrow(), State::Ready(_)) {
                        sender.data(offset, bytes, Flags::default()).await?;
                    }
                },
                _ = resized.recv() => sender.message(&TerminalMessage::Resize(size()), Flags::default()).await?,
                changed = state.changed() => {
                    changed.map_err(|_driver_is_gone| Gone)?;
                    let State::Waiting = *state.borrow_and_update() else { continue };
                    is_up = false;
                    if !std::mem::replace(&mut is_waiting, true) {
                        write(b"\r\n[WARNING] the link is lost; waiting for it\r\n")?;
                    }
                }
            }
            is_waiting &= !is_up;
        };
        drop(raw);
        drop(channel);
        session.close().await?;
        Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)))
    }

    /// What was typed and may have to be sent again.
    #[derive(Default)]
    struct Typed {
        from: u64,
        bytes: VecDeque<u8>,
    }

    impl Typed {
        fn has_room(&self) -> bool {
            self.bytes.len() < MAX_UNCONFIRMED
        }

        /// Notes bytes; answers the offset of the first.
        fn push(&mut self, bytes: &[u8]) -> u64 {
            let offset = self.from + self.bytes.len() as u64;
            self.bytes.extend(bytes);
            // While the link stands, what is far behind has arrived.
            let surplus = self.bytes.len().saturating_sub(MAX_UNCONFIRMED / 2);
            self.bytes.drain(..surplus);
            self.from += surplus as u64;
            offset
        }

        /// The machine said what it has.
        fn confirmed(&mut self, opened: &Opened) {
            let had = usize::try_from(opened.received.saturating_sub(self.from)).unwrap_or(usize::MAX);
            let had = had.min(self.bytes.len());
            self.bytes.drain(..had);
            self.from += had as u64;
        }

        async fn send_again(&mut self, sender: &Sender) -> Result<(), Gone> {
            if self.bytes.is_empty() {
                return Ok(());
            }
            sender.data(self.from, self.bytes.make_contiguous(), Flags::default()).await
        }
    }

    fn size() -> TerminalSize {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                TerminalSize { columns: size.ws_col.min(1_000), rows: size.ws_row.min(1_000) }
            }
            _ => TerminalSize { columns: 80, rows: 24 },
        }
    }

    fn write(bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// The terminal hands on every key; dropped, it is as before.
    struct Raw(Termios);

    impl Raw {
        fn begin() -> anyhow::Result<Self> {
            let before = tcgetattr(io::stdin()).context("the terminal cannot be asked")?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(io::stdin(), OptionalActions::Flush, &raw).context("the terminal cannot be set")?;
            Ok(Self(before))
        }
    }

    impl Drop for Raw {
        fn drop(&mut self) {
            let _nothing_helps = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_was_typed_is_kept_until_the_machine_has_it() {
            let mut typed = Typed::default();
            assert_eq!((typed.push(b"ls "), typed.push(b"-l\r")), (0, 3));
            typed.confirmed(&Opened { received: 4, ..Opened::default() });
            assert_eq!((typed.from, typed.bytes.make_contiguous().to_vec()), (4, b"l\r".to_vec()));
            assert_eq!(typed.push(b"x"), 6);
            typed.confirmed(&Opened { received: 100, ..Opened::default() });
            assert_eq!((typed.from, typed.bytes.len()), (7, 0));
            typed.push(&vec![b'a'; 3 * MAX_UNCONFIRMED]);
            assert!(typed.has_room() && typed.bytes.len() <= MAX_UNCONFIRMED);
        }
    }
}
