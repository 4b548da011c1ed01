//! From request to response. Knows no sockets.

use super::{host, limits};
use crate::{
    igd::{ControlRequest, ControlResponse, ReplyBody, ServiceKind},
    wire::SERVER,
};
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Version,
    body::{Body, Bytes, Frame},
    header::{self, HeaderName, HeaderValue},
};
use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddrV4},
};
use tokio::time::timeout;

/// What is served.
pub trait Site: Send + Sync + 'static {
    /// What lies at `path`; `None` when nothing does.
    fn at(&self, path: &str) -> Option<Place>;

    /// Carries out an action. What it did is in force when it returns.
    fn control(&self, request: &ControlRequest<'_>)
    -> impl Future<Output = ControlResponse> + Send;
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A description: GET, HEAD.
    Document(Bytes),
    /// A service's control URL: POST.
    Control(ServiceKind),
    /// A service's event URL. Subscriptions are not there yet.
    Events(ServiceKind),
}

pub(super) type Answer = Response<Content>;

/// A body, known from the start or made while it is sent.
type Content = UnsyncBoxBody<Bytes, Infallible>;

const EXT: HeaderName = HeaderName::from_static("ext");
const SOAPACTION: HeaderName = HeaderName::from_static("soapaction");
const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=\"utf-8\"");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=\"utf-8\"");

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    status: StatusCode,
    reason: &'static str,
    /// The methods that would do.
    allowed: Option<&'static str>,
}

impl Refusal {
    const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, allowed: None }
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
const NO_EVENTS: Refusal = Refusal::new(StatusCode::NOT_IMPLEMENTED, "no events are offered");
const NOT_XML: Refusal =
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be text/xml");
const TOO_SLOW: Refusal =
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
const TOO_LARGE: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 65536 bytes");
const CUT_OFF: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "the body is cut off");

/// Answers a request that `peer` sent to `local`.
pub(super) async fn respond<S: Site, B: Body<Data = Bytes>>(
    site: &S,
    local: SocketAddrV4,
    peer: Ipv4Addr,
    request: Request<B>,
) -> Answer {
    let carried_out = async {
        match place(site, local, &request)? {
            Place::Document(document) => Ok(with_body(StatusCode::OK, XML, document)),
            Place::Events(_) => Err(NO_EVENTS),
            Place::Control(service) => control(site, peer, service, request).await,
        }
    };
    let mut answer = carried_out.await.unwrap_or_else(refused);
    answer.headers_mut().insert(header::SERVER, HeaderValue::from_static(SERVER));
    answer
}

/// What the request asks for, if it may.
fn place<S: Site, B>(
    site: &S,
    local: SocketAddrV4,
    request: &Request<B>,
) -> Result<Place, Refusal> {
    // RFC 9112 3.2; older control points speak HTTP/1.0.
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        return Err(NO_HOST);
    }
    if !host::is_for(*local.ip(), request.uri(), request.headers()) {
        return Err(WRONG_HOST);
    }
    let place = site.at(request.uri().path()).ok_or(NOTHING_HERE)?;
    let method = request.method().as_str();
    let allowed = match place {
        Place::Document(_) => "GET, HEAD",
        Place::Control(_) => "POST",
        Place::Events(_) => "SUBSCRIBE, UNSUBSCRIBE",
    };
    if !allowed.split(", ").any(|allowed| allowed == method) {
        return Err(Refusal { allowed: Some(allowed), ..WRONG_METHOD });
    }
    Ok(place)
}

async fn control<S: Site, B: Body<Data = Bytes>>(
    site: &S,
    peer: Ipv4Addr,
    service: ServiceKind,
    request: Request<B>,
) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    // Only browsers send it, for pages that come from elsewhere.
    if parts.headers.contains_key(header::ORIGIN) {
        return Err(WEB_PAGE);
    }
    if !is_xml(&parts.headers) {
        return Err(NOT_XML);
    }
    let waits = parts.headers.contains_key(header::EXPECT);
    let body = timeout(limits::BODY_TIME, read(body, waits)).await.map_err(|_| TOO_SLOW)??;
    let soap_action = parts.headers.get(SOAPACTION).and_then(|value| value.to_str().ok());
    let request = ControlRequest { peer, service, soap_action, body: &body };
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
    let mut answer = with_body(status, TEXT, Bytes::from_static(reason.as_bytes()));
    if let Some(allowed) = allowed {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE) {
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
