//! What a caller may order, checked.

use crate::error::{Error, FieldError};
use crate::policies::WhenOffline;
use gururmm_protocol::command::{CommandKind, CommandStart, RunContext};
use gururmm_protocol::limits::{
    MAX_COMMAND_BYTES, MAX_LIST_ITEMS, MAX_NAME_CHARS, MAX_STDIN_BYTES, MAX_TEXT_CHARS,
};
use gururmm_protocol::{CommandId, ServerMessage, encode};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

const DEFAULT_TIMEOUT_SECONDS: i64 = 300;
/// All names and values together.
const MAX_ENVIRONMENT_BYTES: usize = 32 * 1024;

/// What runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandType {
    /// `/bin/sh -c`, on Windows `cmd /c`.
    Shell,
    Powershell,
    Python,
    /// A script's text for `interpreter`.
    Script,
}

/// What can be asked for; `ai_task` needs a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestedType {
    Shell,
    Powershell,
    Python,
    Script,
    #[serde(alias = "claude_task")]
    AiTask,
}

/// As whom a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// As the agent's own account.
    #[default]
    System,
    /// In the signed-in user's session.
    UserSession,
}

/// A command to run.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CommandInput {
    pub command_type: RequestedType,
    /// The command line, or the script's text; at most 128 KiB.
    #[schema(min_length = 1, max_length = 131_072)]
    pub command: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub context: Context,
    /// 1 to 86,400; 300 when absent.
    #[schema(minimum = 1, maximum = 86_400)]
    pub timeout_seconds: Option<i64>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub elevated: bool,
    /// For `script` only: the program that runs it.
    #[schema(max_length = 255)]
    pub interpreter: Option<String>,
    #[schema(max_length = 2048)]
    pub working_directory: Option<String>,
    /// At most 128 variables.
    #[serde(default, deserialize_with = "null_is_default")]
    pub environment: BTreeMap<String, String>,
    /// At most 64 KiB.
    #[schema(max_length = 65_536)]
    pub stdin: Option<String>,
    /// How long it waits for a machine that is away: 10 to 604,800; as the machine's policy says when absent.
    #[schema(minimum = 10, maximum = 604_800)]
    pub expires_in_seconds: Option<i64>,
    /// Whether it waits for a machine that is away, or is refused; as the machine's policy says when absent.
    pub when_offline: Option<WhenOffline>,
}

/// Scripts out there send `null` for what they do not choose.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A checked order.
#[derive(Debug)]
pub struct Order {
    pub start: CommandStart,
    /// Policy's when absent.
    pub expiry_seconds: Option<i64>,
    /// Policy's when absent.
    pub when_offline: Option<WhenOffline>,
}

impl CommandInput {
    /// Whether it is a task for an AI provider.
    pub fn is_ai_task(&self) -> bool {
        self.command_type == RequestedType::AiTask
    }

    /// The order, or every field that is not valid.
    pub fn checked(self, id: CommandId) -> Result<Order, Error> {
        let mut wrong = Wrong(Vec::new());
        wrong.text("command", &self.command, MAX_COMMAND_BYTES);
        if self.command.trim().is_empty() {
            wrong.add("command", "REQUIRED", "must not be empty");
        }
        let is_script = self.command_type == RequestedType::Script;
        match self.interpreter.as_deref() {
            None | Some("") if is_script => wrong.add("interpreter", "REQUIRED", "a script needs one"),
            Some(_) if !is_script => wrong.add("interpreter", "INVALID", "is for scripts only"),
            Some(interpreter) => wrong.line("interpreter", interpreter, MAX_NAME_CHARS),
            None => {}
        }
        if let Some(folder) = &self.working_directory {
            wrong.line("working_directory", folder, MAX_TEXT_CHARS);
        }
        if let Some(stdin) = &self.stdin {
            wrong.text("stdin", stdin, MAX_STDIN_BYTES);
        }
        wrong.environment(&self.environment);
        let timeout = self.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
        wrong.range("timeout_seconds", timeout, 1, 86_400);
        let (expiry_seconds, when_offline) = (self.expires_in_seconds, self.when_offline);
        if let Some(expiry) = expiry_seconds {
            wrong.range("expires_in_seconds", expiry, 10, 604_800);
        }
        let start = CommandStart {
            command_id: id,
            kind: match self.command_type {
                RequestedType::Shell | RequestedType::AiTask => CommandKind::Shell,
                RequestedType::Powershell => CommandKind::Powershell,
                RequestedType::Python => CommandKind::Python,
                RequestedType::Script => CommandKind::Script,
            },
            command: self.command,
            interpreter: self.interpreter,
            context: self.context.into(),
            elevated: self.elevated,
            timeout_seconds: u32::try_from(timeout).unwrap_or(0),
            working_directory: self.working_directory.filter(|folder| !folder.is_empty()),
            environment: self.environment,
            stdin: self.stdin,
        };
        if wrong.0.is_empty() && encode(&ServerMessage::CommandStart(start.clone())).is_err() {
            wrong.add("command", "TOO_LONG", "command, environment and standard input are too long together");
        }
        match wrong.0.is_empty() {
            true => Ok(Order { start, expiry_seconds, when_offline }),
            false => Err(Error::fields(wrong.0)),
        }
    }
}

struct Wrong(Vec<FieldError>);

impl Wrong {
    fn add(&mut self, field: &'static str, code: &'static str, message: &'static str) {
        self.0.push(FieldError { field: field.into(), code, message: message.into() });
    }

    /// Text of any shape, bounded in bytes. NUL is what neither PostgreSQL nor a command line can hold.
    fn text(&mut self, field: &'static str, text: &str, max_bytes: usize) {
        if text.len() > max_bytes {
            self.add(field, "TOO_LONG", "is too long");
        }
        if text.contains('\0') {
            self.add(field, "INVALID", "must not contain NUL");
        }
    }

    fn line(&mut self, field: &'static str, text: &str, max_chars: usize) {
        if text.chars().count() > max_chars {
            self.add(field, "TOO_LONG", "is too long");
        }
        if text.chars().any(char::is_control) {
            self.add(field, "INVALID", "must not contain control characters");
        }
    }

    fn environment(&mut self, environment: &BTreeMap<String, String>) {
        const FIELD: &str = "environment";
        let bytes: usize = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
        if environment.len() > MAX_LIST_ITEMS || bytes > MAX_ENVIRONMENT_BYTES {
            self.add(FIELD, "TOO_LONG", "has too many variables, or too long ones");
        }
        let is_name = |name: &str| {
            let mut chars = name.chars();
            chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
                && chars.all(|next| next.is_ascii_alphanumeric() || next == '_')
        };
        if !environment.keys().all(|name| is_name(name)) {
            self.add(FIELD, "INVALID", "a variable's name has letters, digits and underscores only");
        }
        if environment.values().any(|value| value.contains('\0')) {
            self.add(FIELD, "INVALID", "a variable's value must not contain NUL");
        }
    }

    fn range(&mut self, field: &'static str, value: i64, least: i64, most: i64) {
        if !(least..=most).contains(&value) {
            self.0.push(FieldError {
                field: field.into(),
                code: "OUT_OF_RANGE",
                message: format!("must be {least} to {most}").into(),
            });
        }
    }
}

impl From<Context> for RunContext {
    fn from(context: Context) -> Self {
        match context {
            Context::System => Self::System,
            Context::UserSession => Self::UserSession,
        }
    }
}

impl CommandType {
    /// Reads the database's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Shell, Self::Powershell, Self::Python, Self::Script]
            .into_iter()
            .find(|kind| kind.kind().as_str() == word)
    }

    /// As the protocol says it.
    pub fn kind(self) -> CommandKind {
        match self {
            Self::Shell => CommandKind::Shell,
            Self::Powershell => CommandKind::Powershell,
            Self::Python => CommandKind::Python,
            Self::Script => CommandKind::Script,
        }
    }
}

impl Context {
    /// Reads the database's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::System, Self::UserSession]
            .into_iter()
            .find(|context| RunContext::from(*context).as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(body: Value) -> Result<Order, Error> {
        let input: CommandInput = serde_json::from_value(body).unwrap();
        input.checked(CommandId::new())
    }

    fn wrong_fields(body: Value) -> Vec<String> {
        match check(body) {
            Err(Error::Problem(problem)) => {
                problem.errors.iter().map(|error| error.field.to_string()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_has_a_default_or_is_policys() {
        let order = check(json!({"command_type": "shell", "command": "uptime"})).unwrap();
        assert_eq!(order.start.timeout_seconds, 300);
        assert_eq!((order.expiry_seconds, order.when_offline), (None, None));
    }

    #[test]
    fn every_limit_is_kept() {
        let long = "x".repeat(MAX_COMMAND_BYTES + 1);
        for (field, body) in [
            ("command", json!({"command_type": "shell", "command": " "})),
            ("command", json!({"command_type": "shell", "command": long})),
            ("command", json!({"command_type": "shell", "command": "a\0b"})),
            ("interpreter", json!({"command_type": "script", "command": "x"})),
            ("interpreter", json!({"command_type": "shell", "command": "x", "interpreter": "/bin/sh"})),
            ("timeout_seconds", json!({"command_type": "shell", "command": "x", "timeout_seconds": 0})),
            ("timeout_seconds", json!({"command_type": "shell", "command": "x", "timeout_seconds": 86_401})),
            ("expires_in_seconds", json!({"command_type": "shell", "command": "x", "expires_in_seconds": 9})),
            ("environment", json!({"command_type": "shell", "command": "x", "environment": {"A=B": "c"}})),
            (
                "stdin",
                json!({"command_type": "shell", "command": "x", "stdin": "y".repeat(MAX_STDIN_BYTES + 1)}),
            ),
        ] {
            assert_eq!(wrong_fields(body), [field]);
        }
    }

    #[test]
    fn what_would_not_fit_a_frame_is_refused_at_once() {
        // Control characters take six bytes each in JSON.
        let command = "\u{1}".repeat(MAX_COMMAND_BYTES);
        assert_eq!(wrong_fields(json!({"command_type": "shell", "command": command})), ["command"]);
    }
}
