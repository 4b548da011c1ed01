//! The benchmarks: [`data`] compares the packet path with what XDP can do at best, with the kernel's routing
//! and with its NAT; [`pktgen()`] does so with another generator, also between real interfaces; [`control()`]
//! compares the control plane with miniupnpd.
//!
//! Every contestant has a lab of namespaces of its own, generator – router – sink, and they take turns, so
//! that what else the machine does befalls all of them. In the packet path's one core does everything: a
//! generator that the kernel runs on live frames, the router, and the sink. The generator's own cost is
//! measured by a router that drops at its door, and subtracted.

mod case;
mod chart;
mod comparison;
mod contestant;
mod control;
mod cores;
mod generator;
mod pktgen;
mod plan;
mod report;
mod rounds;
mod run;
mod sessions;
mod tcp;
mod trunk;

pub use case::{Case, Direction};
pub use chart::curve;
pub use comparison::Comparison;
pub use contestant::Kind;
pub use control::{
    Contender, ControlFigure, ControlOptions, ControlReport, Goal, Measure, adds, control,
};
pub use cores::{CoresReport, cores};
pub use pktgen::{PktgenFigure, PktgenOptions, PktgenReport, Wires, pktgen};
pub use report::{Figure, Report, Stat};
pub use run::{Options, data};
pub use sessions::{SessionsReport, sessions};
pub use tcp::{TcpReport, tcp};
