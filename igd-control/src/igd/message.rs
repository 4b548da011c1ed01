//! Control messages: read and checked on the way in, written on the way out. Nothing here needs the
//! gateway's state, so that it is not locked meanwhile.

use super::arguments::{Arguments, Value};
use super::device::Tree;
use super::error::{ActionError, ErrorCode};
use super::spec::{Action, ActionSpec, Direction, ServiceKind};
use crate::metrics;
use crate::wire::port_listing::PortListing;
use crate::wire::soap::{self, SoapError, SoapRequest};
use std::fmt;
use std::net::Ipv4Addr;

/// A control message, as HTTP delivers it.
#[derive(Clone, Copy, Debug)]
pub struct ControlRequest<'a> {
    /// Address of the control point.
    pub peer: Ipv4Addr,
    /// The service that was addressed by the control URL.
    pub service: ServiceKind,
    /// Value of the SOAPACTION header.
    pub soap_action: Option<&'a str>,
    /// The message body.
    pub body: &'a [u8],
}

/// The answer to a control message; the body is XML whatever the status.
#[derive(Debug)]
pub struct ControlResponse {
    /// HTTP status: 200, 500 with a UPnPError, or 400 for what is not a request.
    pub status: u16,
    /// The message body.
    pub body: ReplyBody,
}

impl ControlResponse {
    /// The answer to a client that asks more often than it may (RFC 9110, section 15.6.4).
    pub fn too_many_requests() -> Self {
        let body = soap::encode_bad_request("too many requests of this client: try again later");
        Self { status: 503, body: ReplyBody::Whole(body) }
    }
}

/// The body of an answer.
pub enum ReplyBody {
    /// All of it.
    Whole(Vec<u8>),
    /// Made part by part, while it is sent.
    Parts(Box<dyn Iterator<Item = Vec<u8>> + Send>),
}

impl ReplyBody {
    /// All of it, however it is made.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Parts(parts) => parts.flatten().collect(),
        }
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Parts(_) => f.write_str("(made while it is sent)"),
        }
    }
}

/// An action that somebody asks for, with its arguments checked.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub(super) peer: Ipv4Addr,
    pub(super) service: ServiceKind,
    pub(super) run: Action,
    pub(super) arguments: Arguments,
    spec: &'static ActionSpec,
    /// As the request names it; the answer does so, too.
    service_type: String,
}

impl Invocation {
    /// Reads a control message.
    ///
    /// # Errors
    /// The answer to a message that asks for nothing that there is, or not as it should.
    pub fn read(request: &ControlRequest<'_>) -> Result<Self, ControlResponse> {
        let tree = request.service.tree();
        let message = read(request).map_err(|rejection| rejected(tree, &rejection))?;
        let found = find(request, &message)
            .and_then(|(spec, run)| Ok((spec, run, Arguments::check(spec, &message.arguments)?)));
        match found {
            Ok((spec, run, arguments)) => Ok(Self {
                peer: request.peer,
                service: request.service,
                run,
                arguments,
                spec,
                service_type: message.service_type,
            }),
            Err(error) => {
                // The name is one of the table's, or nobody's: clients cannot make up others.
                let known = request.service.spec().action(&message.action);
                let known = known.map_or("unknown", |action| action.name);
                answered(request.service, known, error.code.code());
                refused(request.peer, request.service, &message.action, &error);
                Err(fault(tree, &error))
            }
        }
    }

    /// The answer when the action has come to this.
    pub(super) fn answer(&self, outcome: Result<Vec<Value>, ActionError>) -> ControlResponse {
        let action = self.spec.name;
        let outcome = match outcome.map(|mut values| (values.pop(), values)) {
            Ok((Some(Value::Listing(listing)), others)) if others.is_empty() => {
                return self.listed(listing);
            }
            Ok((last, mut values)) => {
                values.extend(last);
                Ok(values)
            }
            Err(error) => Err(error),
        };
        let outcome = outcome.and_then(|values| Ok(label(self.spec, &values)?));
        answered(
            self.service,
            action,
            outcome.as_ref().map_or_else(|error| error.code.code(), |_| 0),
        );
        match outcome {
            Ok(results) => {
                let service = self.service.spec().name;
                tracing::debug!(peer = %self.peer, service, action, "done");
                let body = soap::encode_response(&self.service_type, action, results);
                ControlResponse { status: 200, body: ReplyBody::Whole(body) }
            }
            Err(error) => {
                refused(self.peer, self.service, action, &error);
                fault(self.service.tree(), &error)
            }
        }
    }
}

impl Invocation {
    /// The answer that is a list.
    fn listed(&self, listing: PortListing) -> ControlResponse {
        answered(self.service, self.spec.name, 0);
        let short = listing.is_short();
        let mut names = self.spec.arguments_of(Direction::Out).map(|argument| argument.name);
        let name = names.next().unwrap_or_default();
        let parts = listing.answer(&self.service_type, self.spec.name, name);
        // Short, it has a length, which some clients want.
        let body = match short {
            true => ReplyBody::Whole(parts.flatten().collect()),
            false => ReplyBody::Parts(Box::new(parts)),
        };
        ControlResponse { status: 200, body }
    }

    /// Host names that stand where addresses may: to be resolved before the action is carried out.
    pub fn host_names(&self) -> Vec<String> {
        let texts = HOSTS.into_iter().filter_map(|name| self.arguments.text(name).ok());
        let names = texts.map(str::trim).filter(|text| is_host_name(text));
        names.map(str::to_owned).collect()
    }

    /// The address of a host name.
    pub fn resolved(&mut self, host: &str, address: Ipv4Addr) {
        for name in HOSTS {
            if self.arguments.text(name).is_ok_and(|text| text.trim() == host) {
                self.arguments.set_text(name, address.to_string());
            }
        }
    }
}

/// The arguments that may be host names.
const HOSTS: [&str; 2] = ["NewRemoteHost", "NewInternalClient"];

/// Whether a text is a domain name as RFC 1035, 2.3.1, has it (with digits in front, RFC 1123, 2.1),
/// and cannot be meant for an address.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(label)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn answered(service: ServiceKind, action: &'static str, code: u16) {
    metrics::answered(service.spec().name, action, code);
}

fn refused(peer: Ipv4Addr, service: ServiceKind, action: &str, error: &ActionError) {
    let (service, code) = (service.spec().name, error.code.code());
    tracing::debug!(%peer, service, action, code, %error, "refused");
}

/// Reads the message; its SOAPACTION header is wanted, although the body says the same. A web page
/// in a browser on the LAN can send a form here, but cannot add this header without being asked.
fn read(request: &ControlRequest<'_>) -> Result<SoapRequest, Rejection> {
    let header = request.soap_action.ok_or(Rejection::Soap(SoapError::BadHeader))?;
    let header = soap::parse_soap_action(header).map_err(Rejection::Soap)?;
    let message = SoapRequest::parse(request.body).map_err(Rejection::Soap)?;
    if header != (message.service_type.as_str(), message.action.as_str()) {
        return Err(Rejection::Disagreement);
    }
    Ok(message)
}

/// Why a message does not reach an action.
enum Rejection {
    Soap(SoapError),
    Disagreement,
}

fn rejected(tree: Tree, rejection: &Rejection) -> ControlResponse {
    let code = match rejection {
        Rejection::Soap(SoapError::NoAction) => ErrorCode::InvalidAction,
        Rejection::Soap(SoapError::BadArguments) => ErrorCode::InvalidArgs,
        Rejection::Soap(error) => {
            let body = soap::encode_bad_request(&error.to_string());
            return ControlResponse { status: 400, body: ReplyBody::Whole(body) };
        }
        Rejection::Disagreement => {
            let detail = "SOAPACTION header and message body name different actions";
            return fault(tree, &ActionError::new(ErrorCode::InvalidAction, detail));
        }
    };
    fault(tree, &code.into())
}

fn fault(tree: Tree, error: &ActionError) -> ControlResponse {
    let error = match tree {
        Tree::Igd1 => &error.in_version_1(),
        Tree::Igd2 => error,
    };
    let body = soap::encode_upnp_error(error.code.code(), &error.to_string());
    ControlResponse { status: 500, body: ReplyBody::Whole(body) }
}

/// The action that a message asks of a service.
fn find(
    request: &ControlRequest<'_>,
    message: &SoapRequest,
) -> Result<(&'static ActionSpec, Action), ActionError> {
    let spec = request.service.spec();
    if !spec.answers_to(&message.service_type) {
        let detail = format!("this is {}", spec.urn(spec.version));
        return Err(ActionError::new(ErrorCode::InvalidAction, detail));
    }
    let action = spec.action(&message.action).ok_or(ErrorCode::InvalidAction)?;
    match action.run {
        Some(run) => Ok((action, run)),
        None if action.optional => Err(ErrorCode::OptionalActionNotImplemented.into()),
        None => Err(ErrorCode::InvalidAction.into()),
    }
}

/// Puts the names of the action's table to the values of its result.
fn label(action: &ActionSpec, values: &[Value]) -> Result<Vec<(&'static str, String)>, ErrorCode> {
    let specs: Vec<_> = action.arguments_of(Direction::Out).collect();
    let fits = specs.len() == values.len()
        && specs
            .iter()
            .zip(values)
            .all(|(spec, value)| spec.related.data_type == value.data_type());
    if !fits {
        tracing::error!(action = action.name, "a result does not fit the action's table");
        return Err(ErrorCode::ActionFailed);
    }
    Ok(specs.iter().zip(values).map(|(spec, value)| (spec.name, value.to_string())).collect())
}
