//! Arguments: checked against an action's table on the way in, written as it says on the way out.
//!
//! Codes, by the UPnP Device Architecture (table 3-3): a missing, repeated or unknown argument and
//! one of the wrong data type is 402 Invalid Args. An element that is not named as the standards name
//! arguments (New...) is a vendor's extension, which some clients send, and is ignored. A value of the right type that is not in the
//! allowedValueList or allowedValueRange is 601 Argument Value Out of Range, and so is a number that
//! its type cannot hold. A value that is wrong in itself, whatever the table says (an address that
//! is none), is 600 Argument Value Invalid. Where WANIPConnection:2 has a code of its own (732 for an
//! internal port of 0), that one is answered, being the most specific (section 2.5.23).

use super::error::{ActionError, ErrorCode};
use super::spec::{ActionSpec, Allowed, ArgumentSpec, DataType, Direction, VariableSpec};
use crate::wire::port_listing::PortListing;
use std::fmt;

/// What the names of all arguments begin with.
const PREFIX: &str = "New";

/// A value of a state variable's type.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// ui2.
    Ui2(u16),
    /// ui4.
    Ui4(u32),
    /// boolean.
    Boolean(bool),
    /// string.
    Text(String),
    /// string: a list of port mappings, which is written while it is sent.
    Listing(PortListing),
}

impl Value {
    /// A text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The type that it has.
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Ui2(_) => DataType::Ui2,
            Self::Ui4(_) => DataType::Ui4,
            Self::Boolean(_) => DataType::Boolean,
            Self::Text(_) | Self::Listing(_) => DataType::String,
        }
    }
}

/// As messages say it; booleans as 0 and 1 (WANIPConnection:2, section 1.3.1).
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ui2(number) => number.fmt(f),
            Self::Ui4(number) => number.fmt(f),
            Self::Boolean(truth) => u8::from(*truth).fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Listing(_) => Ok(()),
        }
    }
}

/// The arguments of a request, checked.
#[derive(Clone, Debug)]
pub(super) struct Arguments(Vec<(&'static str, Value)>);

impl Arguments {
    /// Checks what a request gives against the action's table. The order is free.
    ///
    /// # Errors
    /// 402, 601 or the variable's own code; see the module.
    pub(super) fn check(
        action: &ActionSpec,
        given: &[(String, String)],
    ) -> Result<Self, ActionError> {
        let invalid = |what: &str, name: &str| {
            ActionError::new(ErrorCode::InvalidArgs, format!("{what} argument {name}"))
        };
        let called =
            |spec: &ArgumentSpec, name: &str| spec.name == name || spec.alias == Some(name);
        let known = |name: &str| action.arguments_of(Direction::In).any(|spec| called(spec, name));
        let unknown = |name: &str| name.starts_with(PREFIX) && !known(name);
        if let Some((name, _)) = given.iter().find(|(name, _)| unknown(name)) {
            return Err(invalid("unknown", name));
        }
        let mut checked = Vec::with_capacity(given.len());
        for spec in action.arguments_of(Direction::In) {
            let mut values =
                given.iter().filter(|(name, _)| called(spec, name)).map(|(_, text)| text.as_str());
            let text =
                values.next().or(spec.absent).ok_or_else(|| invalid("missing", spec.name))?;
            if values.next().is_some() {
                return Err(invalid("repeated", spec.name));
            }
            checked.push((spec.name, parse(spec, text)?));
        }
        Ok(Self(checked))
    }

    /// Replaces a text.
    pub(super) fn set_text(&mut self, name: &str, text: String) {
        if let Some((_, value)) = self.0.iter_mut().find(|(known, _)| *known == name) {
            *value = Value::Text(text);
        }
    }

    /// A ui2.
    ///
    /// # Errors
    /// 501 when the action's table has no such argument of this type.
    pub(super) fn ui2(&self, name: &str) -> Result<u16, ActionError> {
        match self.get(name) {
            Some(Value::Ui2(number)) => Ok(*number),
            _ => Err(ErrorCode::ActionFailed.into()),
        }
    }

    /// A ui4.
    ///
    /// # Errors
    /// As [`Self::ui2`].
    pub(super) fn ui4(&self, name: &str) -> Result<u32, ActionError> {
        match self.get(name) {
            Some(Value::Ui4(number)) => Ok(*number),
            _ => Err(ErrorCode::ActionFailed.into()),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// As [`Self::ui2`].
    pub(super) fn boolean(&self, name: &str) -> Result<bool, ActionError> {
        match self.get(name) {
            Some(Value::Boolean(truth)) => Ok(*truth),
            _ => Err(ErrorCode::ActionFailed.into()),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// As [`Self::ui2`].
    pub(super) fn text(&self, name: &str) -> Result<&str, ActionError> {
        match self.get(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(ErrorCode::ActionFailed.into()),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

fn parse(spec: &ArgumentSpec, text: &str) -> Result<Value, ActionError> {
    let variable = spec.related;
    let value = match variable.data_type {
        DataType::Ui2 => {
            let number = parse_number(spec.name, text)?;
            Value::Ui2(u16::try_from(number).map_err(|_| out_of_range(spec.name, variable))?)
        }
        DataType::Ui4 => {
            let number = parse_number(spec.name, text)?;
            Value::Ui4(u32::try_from(number).map_err(|_| out_of_range(spec.name, variable))?)
        }
        DataType::Boolean => Value::Boolean(parse_boolean(text).ok_or_else(|| {
            ActionError::new(ErrorCode::InvalidArgs, format!("{} is no boolean", spec.name))
        })?),
        DataType::String => Value::text(text),
    };
    check_allowed(spec.name, variable, &value)?;
    Ok(value)
}

/// A number without a sign; one too large for 64 bits becomes the largest.
fn parse_number(name: &str, text: &str) -> Result<u64, ActionError> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let detail = format!("{name} is no unsigned number");
        return Err(ActionError::new(ErrorCode::InvalidArgs, detail));
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn parse_boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match (is(["1", "true", "yes"]), is(["0", "false", "no"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

fn check_allowed(name: &str, variable: &VariableSpec, value: &Value) -> Result<(), ActionError> {
    match (&variable.allowed, value) {
        (Allowed::List(values), Value::Text(text)) if !values.contains(&text.as_str()) => {
            Err(out_of_range(name, variable))
        }
        (Allowed::Range { minimum, maximum, too_low }, Value::Ui2(_) | Value::Ui4(_)) => {
            let number = match value {
                Value::Ui2(number) => u32::from(*number),
                Value::Ui4(number) => *number,
                _ => return Ok(()),
            };
            if number < *minimum {
                Err(ActionError::new(*too_low, format!("{name} is {number}")))
            } else if number > *maximum {
                Err(out_of_range(name, variable))
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}

fn out_of_range(name: &str, variable: &VariableSpec) -> ActionError {
    let detail = match &variable.allowed {
        Allowed::List(values) => format!("{name} must be one of {}", values.join(", ")),
        Allowed::Range { minimum, maximum, .. } => {
            format!("{name} must be from {minimum} to {maximum}")
        }
        Allowed::Any => format!("{name} does not fit {}", variable.data_type.name()),
    };
    ActionError::new(ErrorCode::ArgumentValueOutOfRange, detail)
}
