//! A control point that speaks SOAP to the gateway's WANIPConnection service.

use super::http::{self, Response};
use super::ssdp;
use crate::lab::Namespace;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::net::SocketAddrV4;

/// Type of the service in its second version.
pub const WAN_IP_CONNECTION: &str = "urn:schemas-upnp-org:service:WANIPConnection:2";

/// Type of the service in its first version.
pub const WAN_IP_CONNECTION_1: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// The gateway as a LAN host knows it from its description.
#[derive(Debug)]
pub struct Gateway<'ns> {
    namespace: &'ns Namespace,
    /// Where it serves HTTP.
    pub server: SocketAddrV4,
    /// URL of the description.
    pub location: String,
    /// Type of the service that is spoken to.
    pub service_type: String,
    /// Path of its control URL.
    pub control: String,
    /// The description.
    pub description: String,
}

/// What an action was answered with.
#[derive(Debug)]
pub struct Reply(pub Response);

impl Reply {
    /// The value of an output argument, or of any other element without children.
    pub fn value(&self, name: &str) -> Option<&str> {
        element(&self.0.body, name)
    }

    /// The UPnP error code of a fault.
    pub fn error_code(&self) -> Option<u16> {
        self.value("errorCode")?.parse().ok()
    }

    /// The answer of an action that succeeded.
    ///
    /// # Errors
    /// When it did not.
    pub fn success(self) -> Result<Self> {
        ensure!(self.0.status == 200, "HTTP {}: {}", self.0.status, self.0.body);
        Ok(self)
    }
}

impl<'ns> Gateway<'ns> {
    /// Finds the gateway by SSDP and reads its description.
    ///
    /// # Errors
    /// When none answers, or its description lacks the service.
    pub fn discover(namespace: &'ns Namespace) -> Result<Self> {
        Self::discover_by(namespace, WAN_IP_CONNECTION)
    }

    /// Finds the gateway by the type of a service, and speaks to that.
    ///
    /// # Errors
    /// As [`Self::discover`].
    pub fn discover_by(namespace: &'ns Namespace, service_type: &str) -> Result<Self> {
        let answers = ssdp::search(namespace, service_type, 1)?;
        let answer = answers.first().context("no gateway answers M-SEARCH")?;
        let location = answer.header("location").context("an answer without LOCATION")?.to_owned();
        let (authority, path) = location
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .with_context(|| format!("not a URL: {location}"))?;
        let server = authority.parse().with_context(|| format!("not an endpoint: {authority}"))?;
        let description = http::get(namespace, server, &format!("/{path}"))?.body;
        let found = Self {
            namespace,
            server,
            location,
            service_type: String::new(),
            control: String::new(),
            description,
        };
        found.at(service_type)
    }

    /// The same gateway, spoken to at another service of its description.
    ///
    /// # Errors
    /// When the description has no such service.
    pub fn at(&self, service_type: &str) -> Result<Self> {
        let control = self.url_of(service_type, "controlURL")?.to_owned();
        Ok(Self {
            namespace: self.namespace,
            server: self.server,
            location: self.location.clone(),
            service_type: service_type.to_owned(),
            control,
            description: self.description.clone(),
        })
    }

    /// A URL that the description gives a service.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn url_of(&self, service_type: &str, name: &str) -> Result<&str> {
        let (_, service) = self
            .description
            .split_once(&format!("<serviceType>{service_type}</serviceType>"))
            .with_context(|| format!("no {service_type} in the description"))?;
        element(service, name).with_context(|| format!("no {name}"))
    }

    /// GETs a path of the gateway.
    ///
    /// # Errors
    /// When the exchange fails.
    pub fn get(&self, path: &str) -> Result<Response> {
        http::get(self.namespace, self.server, path)
    }

    /// Calls an action.
    ///
    /// # Errors
    /// When the exchange fails; a fault is an answer.
    pub fn call(&self, action: &str, arguments: &[(&str, &str)]) -> Result<Reply> {
        self.post(action, &envelope_for(&self.service_type, action, arguments))
    }

    /// Sends `body` as the request of an action.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn post(&self, action: &str, body: &str) -> Result<Reply> {
        let request =
            self.request("POST", &self.control, "text/xml; charset=\"utf-8\"", action, body);
        Ok(Reply(http::exchange(self.namespace, self.server, request.as_bytes())?))
    }

    /// The bytes of a request.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        action: &str,
        body: &str,
    ) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\
             SOAPAction: \"{}#{action}\"\r\n\r\n{body}",
            self.server,
            body.len(),
            self.service_type,
        )
    }

    /// ConnectionStatus, LastConnectionError and Uptime, seconds.
    ///
    /// # Errors
    /// When the action fails.
    pub fn status(&self) -> Result<(String, String, u32)> {
        let reply = self.call("GetStatusInfo", &[])?.success()?;
        let value = |name| reply.value(name).map(str::to_owned).context("no status");
        let uptime = value("NewUptime")?.parse()?;
        Ok((value("NewConnectionStatus")?, value("NewLastConnectionError")?, uptime))
    }

    /// AddPortMapping.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn add(&self, mapping: &Mapping<'_>) -> Result<Reply> {
        self.call("AddPortMapping", &mapping.arguments())
    }

    /// AddAnyPortMapping.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn add_any(&self, mapping: &Mapping<'_>) -> Result<Reply> {
        self.call("AddAnyPortMapping", &mapping.arguments())
    }
}

/// A port mapping to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Mapping<'a> {
    /// Remote host; empty for any.
    pub remote_host: &'a str,
    /// External port.
    pub external_port: &'a str,
    /// `TCP` or `UDP`.
    pub protocol: &'a str,
    /// Address of the internal client.
    pub client: &'a str,
    /// Its port.
    pub internal_port: &'a str,
    /// Seconds.
    pub lease: &'a str,
    /// `1`, or `0` for a disabled one.
    pub enabled: &'a str,
}

/// UDP port 6000 for port 5600 of the LAN host, an hour.
pub const MAPPING: Mapping<'static> = Mapping {
    remote_host: "",
    external_port: "6000",
    protocol: "UDP",
    client: "192.168.77.2",
    internal_port: "5600",
    lease: "3600",
    enabled: "1",
};

impl<'a> Mapping<'a> {
    /// The input arguments of AddPortMapping, in the order of the standard.
    pub fn arguments(&self) -> [(&'static str, &'a str); 8] {
        [
            ("NewRemoteHost", self.remote_host),
            ("NewExternalPort", self.external_port),
            ("NewProtocol", self.protocol),
            ("NewInternalPort", self.internal_port),
            ("NewInternalClient", self.client),
            ("NewEnabled", self.enabled),
            ("NewPortMappingDescription", "nat-tests"),
            ("NewLeaseDuration", self.lease),
        ]
    }
}

/// The body of a request, with arguments that need no escaping.
pub fn envelope(action: &str, arguments: &[(&str, &str)]) -> String {
    envelope_for(WAN_IP_CONNECTION, action, arguments)
}

/// The same for any service.
pub fn envelope_for(service_type: &str, action: &str, arguments: &[(&str, &str)]) -> String {
    let mut inner = String::new();
    for (name, value) in arguments {
        // Writing to a String cannot fail.
        let _ = write!(inner, "<{name}>{value}</{name}>");
    }
    format!(
        "<?xml version=\"1.0\"?>\n\
         <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
         <u:{action} xmlns:u=\"{service_type}\">{inner}</u:{action}>\
         </s:Body></s:Envelope>"
    )
}

/// The text of the first element of that name.
pub fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}
