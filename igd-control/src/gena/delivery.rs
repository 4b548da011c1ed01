//! Sending a message, over a connection of its own.

use super::{Outcome, limits, publisher::Delivery};
use crate::{
    lan::LanAddress,
    wire::gena::{Answer, Callback, answer, notification},
};
use std::io;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Sends a message to the first of its URLs that takes it.
pub(super) async fn deliver(delivery: &Delivery) -> Outcome {
    let mut sent = false;
    let tried = timeout(limits::MESSAGE_TIME, async {
        for callback in &delivery.callbacks {
            let stream =
                match timeout(limits::CONNECT_TIME, connect(&delivery.from, callback)).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        tracing::debug!(to = callback.host(), "event: {error}");
                        continue;
                    }
                    Err(_) => {
                        tracing::debug!(to = callback.host(), "event: no connection in time");
                        continue;
                    }
                };
            sent = true;
            let message = notification(callback, delivery.sid, delivery.seq, &delivery.body);
            match exchange(stream, &message).await {
                Ok(412) => return Some(Outcome::Unknown),
                Ok(_) => return Some(Outcome::Delivered),
                Err(error) => tracing::debug!(to = callback.host(), "event: {error}"),
            }
        }
        None
    });
    let outcome = tried.await.ok().flatten();
    outcome.unwrap_or(if sent { Outcome::Unanswered } else { Outcome::Unreached })
}

/// Connects from the subscription's own address and interface: whatever the routes say, events do not
/// leave the LAN.
async fn connect(from: &LanAddress, to: &Callback) -> io::Result<TcpStream> {
    let socket = if from.ip().is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind_device(Some(from.interface.as_bytes()))?;
    socket.bind(from.at(0))?;
    socket.connect(from.endpoint(to.address, to.port)).await
}

/// Sends the message and reads the status of its answer.
async fn exchange(mut stream: TcpStream, message: &[u8]) -> io::Result<u16> {
    stream.write_all(message).await?;
    let mut head = Vec::with_capacity(256);
    loop {
        match answer(&head) {
            Answer::Status(status) => return Ok(status),
            Answer::Garbage => return Err(io::Error::other("the answer is no HTTP")),
            Answer::More => {}
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
