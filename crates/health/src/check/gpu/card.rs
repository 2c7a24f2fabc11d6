//! The thread that talks to NVIDIA's management library.
//!
//! It waits for Xids all the time: the library tells only the last one of those that came
//! since it was asked. A look is a question to it. A driver that hangs hangs this thread,
//! and nobody else.

use super::stands::Stands;
use evenkeel_domain::check::CheckState;
use evenkeel_domain::clock;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::{Device, Nvml};
use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};
use tokio::sync::oneshot;

/// How long one wait for events takes, and so a look at most beside its own time.
const WAIT_MS: u32 = 200;
/// Events that are taken before a look is answered.
const EVENTS: usize = 64;
/// GPUs of one machine at most.
const GPUS: u32 = 64;

/// What a look has found of one GPU.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Card {
    pub(super) index: u32,
    /// It has fallen off the bus.
    pub(super) lost: bool,
    pub(super) temperature: Option<f64>,
    /// Used and all, in bytes.
    pub(super) memory: Option<(f64, f64)>,
    pub(super) busy: Option<f64>,
    pub(super) uncorrected: Option<u64>,
    /// What slows it down, where that is not its settings.
    pub(super) slowed: Vec<&'static str>,
    pub(super) xids: u64,
    pub(super) stands: Option<(CheckState, String, bool)>,
    /// What runs there.
    pub(super) pids: Vec<u32>,
}

/// What is answered to a look.
pub(super) type Answer = Result<Vec<Card>, String>;

/// Answers until nobody can ask any more.
pub(super) fn serve(
    library: &OsString,
    one: Option<&str>,
    questions: &Receiver<oneshot::Sender<Answer>>,
) {
    let mut known = HashMap::new();
    // Opened when somebody asks, and not before: what was missing may be there by then.
    while let Ok(asked) = questions.recv() {
        let over = match Nvml::builder().lib_path(library).init() {
            Ok(nvml) => session(&nvml, one, (asked, questions), &mut known),
            Err(error) => {
                let shown = library.to_string_lossy();
                let why = format!("{shown}: {error}; there is no GPU of NVIDIA's, or no driver");
                // Who has stopped waiting hears it next time.
                let _ = asked.send(Err(why));
                Ok(())
            }
        };
        if over.is_err() {
            return;
        }
    }
}

/// Uses the library until it must be opened anew; an error when nobody asks any more.
fn session(
    nvml: &Nvml,
    one: Option<&str>,
    (first, questions): (oneshot::Sender<Answer>, &Receiver<oneshot::Sender<Answer>>),
    known: &mut HashMap<u32, Stands>,
) -> Result<(), RecvError> {
    let (mut events, mut first) = (None, Some(first));
    loop {
        let next = first.take().map_or_else(|| questions.try_recv(), Ok);
        let asked = match (&events, next) {
            (_, Ok(asked)) => asked,
            (_, Err(TryRecvError::Disconnected)) => return Err(RecvError),
            (Some(set), Err(TryRecvError::Empty)) => {
                if wait(set, WAIT_MS, known) == Came::Broken {
                    events = None;
                }
                continue;
            }
            // Without events there is nothing to wait for but a question.
            (None, Err(TryRecvError::Empty)) => questions.recv()?,
        };
        let devices = match devices(nvml, one) {
            Ok(devices) => devices,
            Err(error) => {
                let _ = asked.send(Err(error));
                return Ok(());
            }
        };
        // What came up to now belongs to this look; a few at most, however many come.
        if let Some(set) = &events {
            let mut waits = (0..EVENTS).map(|_| wait(set, 0, known));
            if waits.find(|came| *came != Came::Event) == Some(Came::Broken) {
                events = None;
            }
        }
        if events.is_none() {
            events = register(nvml, devices.iter().filter_map(|(_, found)| found.as_ref().ok()));
        }
        let cards = devices.iter().map(|(index, device)| card(*index, device, known)).collect();
        let _ = asked.send(Ok(cards));
    }
}

type Found<'a> = (u32, Result<Device<'a>, NvmlError>);

fn devices<'a>(nvml: &'a Nvml, one: Option<&str>) -> Result<Vec<Found<'a>>, String> {
    let count = nvml.device_count().map_err(|error| format!("GPUs cannot be counted: {error}"))?;
    let all = (0..count.min(GPUS)).map(|index| (index, nvml.device_by_index(index)));
    let wanted = |(index, device): &Found<'a>| match one {
        None => true,
        Some(one) if one.parse() == Ok(*index) => true,
        Some(one) => device.as_ref().is_ok_and(|d| d.uuid().is_ok_and(|uuid| uuid == one)),
    };
    let found: Vec<_> = all.filter(wanted).collect();
    match (found.is_empty(), one) {
        (false, _) => Ok(found),
        (true, Some(one)) => {
            Err(format!("there is no GPU `{one}` among {count}; `nvidia-smi -L` lists them"))
        }
        (true, None) => Err("there is no GPU here".into()),
    }
}

/// A set of events of those GPUs that have some. A failed registration takes the whole set
/// with it, so each is tried with a set of its own first.
fn register<'a, 'd>(
    nvml: &'a Nvml,
    devices: impl Iterator<Item = &'d Device<'a>>,
) -> Option<EventSet<'a>>
where
    'a: 'd,
{
    let wanted = EventTypes::CRITICAL_XID_ERROR;
    let able = |device: &&'d Device<'a>| {
        let set = nvml.create_event_set().ok();
        set.is_some_and(|set| device.register_events(wanted, set).is_ok())
    };
    let mut able = devices.filter(able).peekable();
    able.peek()?;
    let set = nvml.create_event_set().ok()?;
    able.try_fold(set, |set, device| device.register_events(wanted, set).ok())
}

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Event,
    Nothing,
    /// This set gives none any more.
    Broken,
}

/// Waits a while for an event.
fn wait(set: &EventSet<'_>, milliseconds: u32, known: &mut HashMap<u32, Stands>) -> Came {
    let event = match set.wait(milliseconds) {
        Ok(event) => event,
        Err(NvmlError::Timeout) => return Came::Nothing,
        Err(_) => return Came::Broken,
    };
    let code = match event.event_data {
        Some(XidError::Value(code)) => code,
        Some(XidError::Unknown) => 999,
        None => return Came::Event,
    };
    if let Ok(index) = event.device.index() {
        let pids = pids(&event.device);
        known.entry(index).or_default().xid(code, &pids, clock::now());
    }
    Came::Event
}

fn pids(device: &Device<'_>) -> Vec<u32> {
    let all = device.running_compute_processes().unwrap_or_default();
    all.iter().map(|process| process.pid).collect()
}

/// What cannot be asked of this GPU is left out; only that it is lost is said.
fn card(
    index: u32,
    device: &Result<Device<'_>, NvmlError>,
    known: &mut HashMap<u32, Stands>,
) -> Card {
    let mut card = Card { index, ..Card::default() };
    let stands = known.entry(index).or_default();
    match device {
        Ok(device) => measure(device, &mut card),
        Err(error) => card.lost = is_lost(error),
    }
    let now = clock::now();
    if let Some(count) = card.uncorrected {
        stands.uncorrected(count, now);
    }
    card.xids = stands.count;
    card.stands = stands.now(&card.pids, now);
    card
}

fn is_lost(error: &NvmlError) -> bool {
    matches!(error, NvmlError::GpuLost)
}

fn measure(device: &Device<'_>, card: &mut Card) {
    fn kept<T>(lost: &mut bool, asked: Result<T, NvmlError>) -> Option<T> {
        asked.inspect_err(|error| *lost |= is_lost(error)).ok()
    }
    let lost = &mut card.lost;
    card.temperature = kept(lost, device.temperature(TemperatureSensor::Gpu)).map(f64::from);
    card.memory = kept(lost, device.memory_info()).map(|all| (all.used as f64, all.total as f64));
    card.busy = kept(lost, device.utilization_rates()).map(|u| f64::from(u.gpu) / 100.0);
    let uncorrected = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    card.uncorrected = kept(lost, uncorrected);
    let reasons = kept(lost, device.current_throttle_reasons());
    card.slowed = reasons.map(slowed).unwrap_or_default();
    card.pids = pids(device);
}

fn slowed(reasons: ThrottleReasons) -> Vec<&'static str> {
    [
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "it is too hot (hardware thermal slowdown)"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "it is too hot (software thermal slowdown)"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "the power supply brakes it"),
        (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown"),
    ]
    .into_iter()
    .filter_map(|(reason, text)| reasons.contains(reason).then_some(text))
    .collect()
}
