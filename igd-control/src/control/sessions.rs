//! The list of sessions as a stream: a full table of them must not have to fit into memory twice.

use super::Operator;
use futures_util::{Stream, stream};
use hyper::body::{Bytes, Frame};
use std::{io, mem, sync::Arc};
use tokio::sync::mpsc;

/// Bytes that are sent at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks that may wait for a slow reader.
const QUEUE: usize = 2;

type Item = io::Result<Frame<Bytes>>;

/// The sessions as a JSON array, one to a line.
pub(super) fn stream<O: Operator>(operator: Arc<O>) -> impl Stream<Item = Item> + Send {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || produce(operator.as_ref(), &sender));
    stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}

/// Fills chunks until the last session is sent or nobody reads any more.
fn produce<O: Operator>(operator: &O, sender: &mpsc::Sender<Item>) {
    let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 8);
    chunk.push(b'[');
    let mut separator: &[u8] = b"\n";
    let mut failure = None;
    let mut gone = false;
    let result = operator.sessions(&mut |session| {
        if gone || failure.is_some() {
            return;
        }
        chunk.extend_from_slice(separator);
        separator = b",\n";
        failure = serde_json::to_writer(&mut chunk, &session).err();
        if chunk.len() >= CHUNK {
            let full = mem::replace(&mut chunk, Vec::with_capacity(CHUNK + CHUNK / 8));
            gone = sender.blocking_send(Ok(Frame::data(full.into()))).is_err();
        }
    });
    let last = match result.and_then(|()| failure.map_or(Ok(()), |error| Err(error.into()))) {
        Ok(()) => {
            chunk.extend_from_slice(b"\n]\n");
            Ok(Frame::data(chunk.into()))
        }
        // The reader learns of it by the body's ending short.
        Err(error) => {
            tracing::warn!("the list of sessions was cut off: {error:#}");
            Err(io::Error::other(error))
        }
    };
    // A reader that has gone away needs no end.
    let _ = sender.blocking_send(last);
}
