//! The whole binary, as a process, over loopback: what operators and clients are promised.
//!
//! Every test starts its own servers on ports that the system chooses, and they end with
//! it. Nothing sleeps for a state that can be asked for: see [`support::until`].

mod absent;
mod access_log;
mod alerts;
mod answers;
mod batch;
mod check;
mod clients;
mod counts;
mod curl;
mod demo;
mod discovery;
mod drills;
mod examples;
mod faults;
mod fields;
mod forecast;
mod foreign;
mod gray;
mod heal;
mod hedge;
mod job;
mod journal_kills;
mod keys;
mod leaving;
mod liars;
mod llama;
mod nodes;
mod operate;
mod orchestrator;
mod overload;
mod processes;
mod resume;
mod scale;
mod servers;
mod slo;
mod standby;
mod steps;
mod support;
mod systemd;
mod trace;
mod waiting;
