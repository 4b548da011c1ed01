//! From request to response. Knows no sockets.

use super::{Ends, host, limits};
use crate::{
    gena::Subscriber,
    igd::{ControlRequest, ControlResponse, ReplyBody, ServiceKind},
    metrics::{self, Limit},
    wire::{
        SERVER,
        gena::{self, EventError, EventHeaders, Granted, SubscribeRequest},
    },
};
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Version,
    body::{Body, Bytes, Frame},
    header::{self, HeaderName, HeaderValue},
};
use std::{
    borrow::Cow,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};
use tokio::time::timeout;
use uuid::Uuid;

/// What is served.
pub trait Site: Send + Sync + 'static {
    /// What lies at `path`; `None` when nothing does.
    fn at(&self, path: &str) -> Option<Place>;

    /// Carries out an action. What it did is in force when it returns.
    fn control(&self, request: &ControlRequest<'_>)
    -> impl Future<Output = ControlResponse> + Send;

    /// Carries out a SUBSCRIBE.
    ///
    /// # Errors
    /// [`EventError`].
    fn subscribe(
        &self,
        service: ServiceKind,
        who: Subscriber,
        request: SubscribeRequest,
    ) -> Result<Granted, EventError>;

    /// Carries out an UNSUBSCRIBE.
    ///
    /// # Errors
    /// [`EventError`].
    fn unsubscribe(
        &self,
        service: ServiceKind,
        who: &Subscriber,
        sid: Uuid,
    ) -> Result<(), EventError>;
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A description: GET, HEAD.
    Document(Bytes),
    /// A service's control URL: POST, M-POST.
    Control(ServiceKind),
    /// A service's event URL: SUBSCRIBE, UNSUBSCRIBE.
    Events(ServiceKind),
}

pub(super) type Answer = Response<Content>;

/// A body, known from the start or made while it is sent.
type Content = UnsyncBoxBody<Bytes, Infallible>;

const EXT: HeaderName = HeaderName::from_static("ext");
const SOAPACTION: HeaderName = HeaderName::from_static("soapaction");
const MAN: HeaderName = HeaderName::from_static("man");
const NT: HeaderName = HeaderName::from_static("nt");
const CALLBACK: HeaderName = HeaderName::from_static("callback");
const SID: HeaderName = HeaderName::from_static("sid");
const TIMEOUT: HeaderName = HeaderName::from_static("timeout");
/// What a request extended by RFC 2774 says that it is extended by.
const SOAP_EXTENSION: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=\"utf-8\"");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=\"utf-8\"");

/// Why a request is not carried out.
#[derive(Clone, Debug)]
struct Refusal {
    status: StatusCode,
    reason: Cow<'static, str>,
    /// The methods that would do.
    allowed: Option<&'static str>,
}

impl Refusal {
    const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason: Cow::Borrowed(reason), allowed: None }
    }
}

impl From<EventError> for Refusal {
    fn from(error: EventError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, reason: Cow::Owned(error.to_string()), allowed: None }
    }
}

const WRONG_HOST: Refusal =
    Refusal::new(StatusCode::FORBIDDEN, "the host is not this gateway's address");
const NO_HOST: Refusal =
    Refusal::new(StatusCode::BAD_REQUEST, "an HTTP/1.1 request needs a Host header");
const WEB_PAGE: Refusal =
    Refusal::new(StatusCode::FORBIDDEN, "web pages cannot control this gateway");
const NOTHING_HERE: Refusal = Refusal::new(StatusCode::NOT_FOUND, "nothing lies here");
const WRONG_METHOD: Refusal =
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "not a method for this resource");
const NOT_EXTENDED: Refusal =
    Refusal::new(StatusCode::NOT_EXTENDED, "MAN names another extension than SOAP");
const NOT_XML: Refusal =
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be text/xml");
const TOO_SLOW: Refusal =
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
const TOO_LARGE: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 65536 bytes");
const CUT_OFF: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "the body is cut off");

/// Answers a request.
pub(super) async fn respond<S: Site, B: Body<Data = Bytes>>(
    site: &S,
    ends: &Ends,
    request: Request<B>,
) -> Answer {
    let carried_out = async {
        match place(site, ends, &request)? {
            Place::Document(document) => Ok(with_body(StatusCode::OK, XML, document)),
            Place::Events(service) => events(site, ends, service, &request),
            Place::Control(service) => control(site, ends.peer, service, request).await,
        }
    };
    let mut answer = carried_out.await.unwrap_or_else(refused);
    answer.headers_mut().insert(header::SERVER, HeaderValue::from_static(SERVER));
    answer
}

/// What the request asks for, if it may.
fn place<S: Site, B>(site: &S, ends: &Ends, request: &Request<B>) -> Result<Place, Refusal> {
    // RFC 9112 3.2; older control points speak HTTP/1.0.
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        return Err(NO_HOST);
    }
    if !host::is_for(ends.at.ip(), request.uri(), request.headers()) {
        return Err(WRONG_HOST);
    }
    let place = site.at(request.uri().path()).ok_or(NOTHING_HERE)?;
    let method = request.method().as_str();
    let allowed = match place {
        Place::Document(_) => "GET, HEAD",
        Place::Control(_) => "POST, M-POST",
        Place::Events(_) => "SUBSCRIBE, UNSUBSCRIBE",
    };
    if !allowed.split(", ").any(|allowed| allowed == method) {
        return Err(Refusal { allowed: Some(allowed), ..WRONG_METHOD });
    }
    // Only browsers send it, for pages that come from elsewhere.
    if !matches!(place, Place::Document(_)) && request.headers().contains_key(header::ORIGIN) {
        return Err(WEB_PAGE);
    }
    Ok(place)
}

/// SUBSCRIBE and UNSUBSCRIBE.
fn events<S: Site, B>(
    site: &S,
    ends: &Ends,
    service: ServiceKind,
    request: &Request<B>,
) -> Result<Answer, Refusal> {
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or(""));
    let asked = EventHeaders {
        callback: header(CALLBACK),
        nt: header(NT),
        sid: header(SID),
        timeout: header(TIMEOUT),
    };
    let who = Subscriber { at: ends.at.clone(), peer: ends.peer };
    let mut answer = Response::new(Full::default().boxed_unsync());
    if request.method().as_str() == "UNSUBSCRIBE" {
        site.unsubscribe(service, &who, gena::unsubscribe(&asked)?)?;
        return Ok(answer);
    }
    let Granted { sid, seconds } = site.subscribe(service, who, gena::subscribe(&asked)?)?;
    for (name, value) in [(SID, gena::write_sid(sid)), (TIMEOUT, format!("Second-{seconds}"))] {
        // Both are ASCII.
        answer.headers_mut().extend(HeaderValue::from_str(&value).ok().map(|value| (name, value)));
    }
    Ok(answer)
}

/// A control message.
async fn control<S: Site, B: Body<Data = Bytes>>(
    site: &S,
    peer: IpAddr,
    service: ServiceKind,
    request: Request<B>,
) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    if !is_xml(&parts.headers) {
        return Err(NOT_XML);
    }
    let action = soap_action(&parts.headers);
    if parts.method.as_str() == "M-POST" && action.is_none() {
        return Err(NOT_EXTENDED);
    }
    let waits = parts.headers.contains_key(header::EXPECT);
    let body = timeout(limits::BODY_TIME, read(body, waits)).await.map_err(|_| TOO_SLOW)??;
    let request = ControlRequest { peer: client(peer), service, soap_action: action, body: &body };
    let ControlResponse { status, body } = site.control(&request).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = match body {
        ReplyBody::Whole(body) => with_body(status, XML, body.into()),
        ReplyBody::Parts(parts) => {
            let frames = parts.map(|part| Ok(Frame::data(part.into())));
            response(status, XML, StreamBody::new(stream::iter(frames)).boxed_unsync())
        }
    };
    answer.headers_mut().insert(EXT, HeaderValue::from_static(""));
    Ok(answer)
}

/// SOAPACTION, or the same under the prefix that MAN declares for it, as in
/// `"http://schemas.xmlsoap.org/soap/envelope/"; ns=01` and `01-SOAPACTION` (UPnP Device Architecture
/// 1.0, 3.2.1; RFC 2774).
fn soap_action(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().ok());
    text(SOAPACTION.as_str()).unwrap_or_else(|| {
        let (extension, parameters) = text(MAN.as_str())??.split_once(';')?;
        let prefix = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("ns").then(|| value.trim().trim_matches('"'))
        })?;
        let ours = extension.trim().trim_matches('"') == SOAP_EXTENSION;
        ours.then(|| text(&format!("{prefix}-soapaction")))??
    })
}

/// Who a client is to the gateway's policy. Mappings are of IPv4 hosts, so whoever comes by IPv6 is none
/// of them: it may read, and what it may do beyond that is what anybody may do for others.
const fn client(peer: IpAddr) -> Ipv4Addr {
    match peer {
        IpAddr::V4(peer) => peer,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// Reads a body to its end. `waits`: its sender wants to hear first that it may come.
async fn read<B: Body<Data = Bytes>>(body: B, waits: bool) -> Result<Vec<u8>, Refusal> {
    let declared = body.size_hint().lower();
    let discarded = if waits { limits::BODY_BYTES } else { limits::DISCARDED_BYTES };
    if declared > discarded as u64 {
        return Err(TOO_LARGE);
    }
    let mut body = std::pin::pin!(body);
    let mut kept = Vec::with_capacity(limits::BODY_BYTES.min(declared as usize));
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| CUT_OFF)?.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length <= limits::BODY_BYTES {
            kept.extend_from_slice(&data);
        } else if length > discarded {
            break;
        }
    }
    if length > limits::BODY_BYTES { Err(TOO_LARGE) } else { Ok(kept) }
}

/// Whether the body is called XML, or nothing.
fn is_xml(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let essence = value.to_str().ok().and_then(|value| value.split(';').next());
    ["", "text/xml", "application/xml", "application/soap+xml"]
        .iter()
        .any(|known| essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(known)))
}

/// The reason in plain text. What is left of the request's body is not waited for.
fn refused(Refusal { status, reason, allowed }: Refusal) -> Answer {
    let mut answer = with_body(status, TEXT, Bytes::from(reason.into_owned()));
    if let Some(allowed) = allowed {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    let limit = match status {
        StatusCode::REQUEST_TIMEOUT => Some(Limit::BodyTime),
        StatusCode::PAYLOAD_TOO_LARGE => Some(Limit::BodyBytes),
        _ => None,
    };
    if let Some(limit) = limit {
        metrics::hit(limit);
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn with_body(status: StatusCode, kind: HeaderValue, body: Bytes) -> Answer {
    response(status, kind, Full::new(body).boxed_unsync())
}

fn response(status: StatusCode, kind: HeaderValue, body: Content) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
