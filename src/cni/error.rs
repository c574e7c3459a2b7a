//! Errors with the numbers that the specification gives them.

use serde::Serialize;

use super::LATEST;

/// Why a call failed. Runtimes show `msg`, and some act on `code`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// A number of the specification, or one above 99, which are the plugin's own.
    pub code: u32,
    /// One sentence.
    pub msg: String,
}

impl Error {
    /// The configuration asks for a version that this plugin does not speak.
    pub const VERSION: u32 = 1;
    /// A field of the configuration that this plugin does not support.
    pub const FIELD: u32 = 2;
    /// An environment variable is missing or wrong.
    pub const ENVIRONMENT: u32 = 4;
    /// Stdin cannot be read.
    pub const IO: u32 = 5;
    /// The configuration is not JSON, or a field has the wrong type.
    pub const DECODE: u32 = 6;
    /// The configuration is invalid.
    pub const CONFIG: u32 = 7;
    /// canhub cannot be reached at the moment: the runtime should try again.
    pub const LATER: u32 = 11;
    /// STATUS: no container can be added at the moment. Those that were added are not affected.
    pub const UNAVAILABLE: u32 = 50;
    /// canhub refused, for the reason in `msg`.
    pub const REFUSED: u32 = 100;
    /// CHECK: the container is not attached, or not as the last result says.
    pub const NOT_ATTACHED: u32 = 101;
    /// CHECK: the connection has a problem, which `msg` names.
    pub const PROBLEM: u32 = 102;

    /// An error of this number.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into() }
    }

    /// As it is printed, in the format of this version of the specification.
    pub fn printed(&self, version: Option<&str>) -> serde_json::Value {
        serde_json::json!({ "cniVersion": version.unwrap_or(LATEST), "code": self.code, "msg": self.msg })
    }
}
