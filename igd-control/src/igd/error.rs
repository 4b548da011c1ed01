//! The errors that an action can end with.

use std::borrow::Cow;
use std::fmt;

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $name:literal;)*) => {
        /// An error code, of the UPnP Device Architecture (400 to 699) or of a service's standard.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $(#[doc = $name] $variant = $code,)*
        }

        impl ErrorCode {
            /// All that are known.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The errorCode.
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// The errorDescription that the standard gives it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

// Codes 724 to 727 are missing: WANIPConnection:2 forbids them (section 2.5.16).
error_codes! {
    InvalidAction = 401, "Invalid Action";
    InvalidArgs = 402, "Invalid Args";
    ActionFailed = 501, "Action Failed";
    ArgumentValueInvalid = 600, "Argument Value Invalid";
    ArgumentValueOutOfRange = 601, "Argument Value Out of Range";
    OptionalActionNotImplemented = 602, "Optional Action Not Implemented";
    OutOfMemory = 603, "Out of Memory";
    HumanInterventionRequired = 604, "Human Intervention Required";
    StringArgumentTooLong = 605, "String Argument Too Long";
    ActionNotAuthorized = 606, "Action not authorized";
    InactiveConnectionStateRequired = 703, "InactiveConnectionStateRequired";
    ConnectionSetupFailed = 704, "ConnectionSetupFailed";
    ConnectionSetupInProgress = 705, "ConnectionSetupInProgress";
    ConnectionNotConfigured = 706, "ConnectionNotConfigured";
    DisconnectInProgress = 707, "DisconnectInProgress";
    InvalidLayer2Address = 708, "InvalidLayer2Address";
    InternetAccessDisabled = 709, "InternetAccessDisabled";
    InvalidConnectionType = 710, "InvalidConnectionType";
    ConnectionAlreadyTerminated = 711, "ConnectionAlreadyTerminated";
    SpecifiedArrayIndexInvalid = 713, "SpecifiedArrayIndexInvalid";
    NoSuchEntryInArray = 714, "NoSuchEntryInArray";
    WildCardNotPermittedInSrcIp = 715, "WildCardNotPermittedInSrcIP";
    WildCardNotPermittedInExtPort = 716, "WildCardNotPermittedInExtPort";
    ConflictInMappingEntry = 718, "ConflictInMappingEntry";
    InvalidDeviceUuid = 720, "InvalidDeviceUUID";
    InvalidServiceId = 721, "InvalidServiceID";
    NoPortMapsAvailable = 728, "NoPortMapsAvailable";
    ConflictWithOtherMechanisms = 729, "ConflictWithOtherMechanisms";
    PortMappingNotFound = 730, "PortMappingNotFound";
    ReadOnly = 731, "ReadOnly";
    WildCardNotPermittedInIntPort = 732, "WildCardNotPermittedInIntPort";
    InconsistentParameters = 733, "InconsistentParameters";
}

/// Why an action was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionError {
    /// The code.
    pub code: ErrorCode,
    /// What exactly was wrong; may be empty.
    pub detail: Cow<'static, str>,
}

impl ErrorCode {
    /// The code that a version 1 control point knows instead: WANIPConnection:1 has none from 728 on,
    /// and the Device Architecture 1.0 none from 600 to 605. 606 is kept, which clients of version 1
    /// have learned to read from other gateways.
    const fn in_version_1(self) -> Self {
        match self {
            Self::ArgumentValueInvalid
            | Self::ArgumentValueOutOfRange
            | Self::StringArgumentTooLong
            | Self::WildCardNotPermittedInIntPort => Self::InvalidArgs,
            Self::OptionalActionNotImplemented => Self::InvalidAction,
            // Clients try another port then, which helps here too.
            Self::ConflictWithOtherMechanisms => Self::ConflictInMappingEntry,
            Self::OutOfMemory
            | Self::HumanInterventionRequired
            | Self::NoPortMapsAvailable
            | Self::PortMappingNotFound
            | Self::ReadOnly
            | Self::InconsistentParameters => Self::ActionFailed,
            code => code,
        }
    }
}

impl ActionError {
    /// The same as version 1 control points are told it.
    pub(super) fn in_version_1(&self) -> Self {
        match self.code.in_version_1() {
            code if code == self.code => self.clone(),
            code if self.detail.is_empty() => Self::new(code, self.code.name()),
            code => Self::new(code, self.detail.clone()),
        }
    }

    /// A code with words of our own.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<ErrorCode> for ActionError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, "")
    }
}

/// The errorDescription: the standard's name, and what exactly was wrong.
impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for ActionError {}
