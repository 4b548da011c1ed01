//! Asking the running daemon.

use super::{
    columns,
    table::{Row, Table, cell},
};
use crate::control::client::{self, Answer, ClientError};
use hyper::body::Bytes;
use nat_common::Counter;
use serde::{
    Deserializer as _,
    de::{SeqAccess, Visitor},
};
use serde_json::{Value, json};
use std::{
    fmt,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};
use tokio::sync::mpsc;

/// Chunks of an answer that may wait to be printed.
const QUEUE: usize = 4;

/// `igd-control status`
pub(super) fn status(socket: &Path, json: bool) -> anyhow::Result<()> {
    show(socket, "/status", json, |answer, out| {
        let status: Row = serde_json::from_reader(answer)?;
        let width = columns::STATUS.iter().map(|(title, _)| title.len()).max().unwrap_or(0);
        for (title, key) in columns::STATUS {
            writeln!(out, "{title:width$}  {}", cell(status.get(*key)))?;
        }
        let rows: Vec<Row> = match status.get("interfaces") {
            Some(interfaces) => serde_json::from_value(interfaces.clone())?,
            None => Vec::new(),
        };
        writeln!(out)?;
        Ok(Table::fitting(columns::INTERFACES, &rows).all(out, &rows)?)
    })
}

/// `igd-control metrics`
pub(super) fn metrics(socket: &Path) -> anyhow::Result<()> {
    show(socket, "/metrics", true, |_, _| Ok(()))
}

/// For one question.
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// `igd-control mappings`
pub(super) fn mappings(socket: &Path, json: bool) -> anyhow::Result<()> {
    show(socket, "/mappings", json, |answer, out| {
        let rows: Vec<Row> = serde_json::from_reader(answer)?;
        Ok(Table::fitting(columns::MAPPINGS, &rows).all(out, &rows)?)
    })
}

/// Those mappings that are wanted.
pub(super) fn some_mappings(
    socket: &Path,
    json: bool,
    wanted: fn(&Row) -> bool,
) -> anyhow::Result<()> {
    show(socket, "/mappings", false, move |answer, out| {
        let mut rows: Vec<Row> = serde_json::from_reader(answer)?;
        rows.retain(wanted);
        if json {
            return Ok(writeln!(out, "{}", serde_json::to_string(&rows)?)?);
        }
        Ok(Table::fitting(columns::MAPPINGS, &rows).all(out, &rows)?)
    })
}

/// `igd-control sessions`
pub(super) fn sessions(socket: &Path, json: bool) -> anyhow::Result<()> {
    show(socket, "/sessions", json, |answer, out| {
        let table = Table::new(columns::SESSIONS);
        table.head(out)?;
        let mut written = Ok(());
        let rows = Rows(|row: &Row| {
            written = table.row(out, row);
            written.is_ok()
        });
        let read =
            serde_json::Deserializer::from_reader(BufReader::new(answer)).deserialize_seq(rows);
        written?;
        Ok(read?)
    })
}

/// `igd-control clients`
pub(super) fn clients(socket: &Path, json: bool) -> anyhow::Result<()> {
    show(socket, "/clients", json, |answer, out| {
        let rows: Vec<Row> = serde_json::from_reader(answer)?;
        Ok(Table::fitting(columns::CLIENTS, &rows).all(out, &rows)?)
    })
}

/// `igd-control counters`
pub(super) fn counters(socket: &Path, json: bool) -> anyhow::Result<()> {
    show(socket, "/counters", json, |answer, out| {
        let rows = counter_rows(serde_json::from_reader(answer)?);
        Ok(Table::fitting(columns::COUNTERS, &rows).all(out, &rows)?)
    })
}

/// The counters in the order of the packet path, then those that only the daemon knows.
pub(super) fn counter_rows(mut values: Row) -> Vec<Row> {
    let row = |name: &str, help: &str, value: Value| {
        Row::from_iter(
            [("name", json!(name)), ("help", json!(help)), ("value", value)]
                .map(|(key, value)| (key.to_owned(), value)),
        )
    };
    let mut rows = Vec::new();
    for counter in Counter::ALL {
        if let Some(value) = values.remove(counter.name()) {
            rows.push(row(counter.name(), counter.help(), value));
        }
    }
    rows.extend(values.into_iter().map(|(name, value)| row(&name, "", value)));
    rows
}

/// Asks for `path` and prints the answer: as it is, or through `print`, which reads it as it comes.
fn show(
    socket: &Path,
    path: &'static str,
    json: bool,
    print: impl FnOnce(AnswerReader, &mut BufWriter<io::Stdout>) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let answer = client::get(socket, path).await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let printer = tokio::task::spawn_blocking(move || {
            let mut reader = AnswerReader { receiver, chunk: Bytes::new() };
            let mut out = BufWriter::new(io::stdout());
            if json {
                io::copy(&mut reader, &mut out)?;
            } else {
                print(reader, &mut out)?;
            }
            anyhow::Ok(out.flush()?)
        });
        let arrived = pass_on(answer, &sender).await;
        drop(sender);
        // A broken connection explains what the printer makes of it.
        let printed = printer.await?;
        arrived?;
        printed
    })
}

/// Passes an answer on until it ends or nobody reads it any more.
async fn pass_on(mut answer: Answer, sender: &mpsc::Sender<Bytes>) -> Result<(), ClientError> {
    while let Some(chunk) = answer.chunk().await? {
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// An arriving answer, for a thread that may block.
struct AnswerReader {
    receiver: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for AnswerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let part = self.chunk.split_to(buffer.len().min(self.chunk.len()));
        (&*part).read(buffer)
    }
}

/// Hands the rows of an array on one by one, for as long as they are wanted.
struct Rows<F>(F);

impl<'de, F: FnMut(&Row) -> bool> Visitor<'de> for Rows<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element::<Row>()? {
            if !(self.0)(&row) {
                break;
            }
        }
        Ok(())
    }
}
