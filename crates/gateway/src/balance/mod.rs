//! Which of several replicas takes a request.
//!
//! A policy sees candidates that have already passed the one health gate: it knows
//! nothing of health, does no I/O and reads no clock. Up to 64 candidates are scanned
//! whole, which beats a choice of two (see `least_requests`).
//!
//! A new policy is one file here and one line in [`POLICIES`].

mod consistent_hash;
mod least_latency;
mod least_requests;
mod most_capacity;
mod round_robin;
mod round_robin_spill;
mod source_hash;

#[cfg(test)]
mod suite;

use evenkeel_domain::settings::BalanceOptions;

/// One replica as a policy sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Stable identity: the same replica has the same key from pick to pick.
    pub key: u64,
    /// Stable place of the replica by its name: the same on every gateway.
    pub name_hash: u64,
    /// Attempts it has under way.
    pub in_flight: u32,
    /// Its concurrency bound; 0 for none.
    pub max_in_flight: u32,
    /// Share relative to its peers, slow start applied; above 0.
    pub weight: f32,
    /// Moving mean of its time to first byte in microseconds; 0 when unknown.
    pub latency_us: u64,
}

/// What a pick may depend on besides the candidates.
#[derive(Debug)]
pub struct PickContext<'a> {
    /// Hash of the client's address.
    pub source: u64,
    /// Hash of the request's key, when the policy asked for one.
    pub key: u64,
    /// Randomness.
    pub rng: &'a mut fastrand::Rng,
}

/// Chooses one of the candidates.
pub trait Policy: Send + Sync + std::fmt::Debug {
    /// Index into `candidates`; `None` only when there is none.
    fn pick(&self, candidates: &[Candidate], ctx: &mut PickContext<'_>) -> Option<usize>;

    /// Whether the request's key (header, user or prompt) has to be hashed for it.
    fn wants_key(&self) -> bool {
        false
    }
}

type Make = fn(&BalanceOptions) -> Box<dyn Policy>;

/// The registry: name in the configuration, constructor.
pub const POLICIES: &[(&str, Make)] = &[
    ("least_requests", |_| Box::new(least_requests::LeastRequests)),
    ("round_robin", |_| Box::new(round_robin::RoundRobin::default())),
    ("round_robin_spill", |o| Box::new(round_robin_spill::RoundRobinSpill::new(o.spill_above))),
    ("least_latency", |_| Box::new(least_latency::LeastLatency)),
    ("most_capacity", |_| Box::new(most_capacity::MostCapacity)),
    ("source_hash", |_| Box::new(source_hash::SourceHash)),
    ("consistent_hash", |o| Box::new(consistent_hash::ConsistentHash::new(o.bound))),
];

/// The policy of that name, or `None` when there is none.
#[must_use]
pub fn build(name: &str, options: &BalanceOptions) -> Option<Box<dyn Policy>> {
    POLICIES.iter().find(|(known, _)| *known == name).map(|(_, make)| make(options))
}

/// The index with the smallest cost; ties go to a random one, so that equal replicas share.
fn argmin(
    candidates: &[Candidate],
    rng: &mut fastrand::Rng,
    cost: impl Fn(&Candidate) -> f64,
) -> Option<usize> {
    let mut best = None;
    let mut lowest = f64::INFINITY;
    let mut ties = 0;
    for (index, candidate) in candidates.iter().enumerate() {
        let this = cost(candidate);
        if this < lowest || best.is_none() {
            (best, lowest, ties) = (Some(index), this, 1);
        } else if this == lowest {
            ties += 1;
            // Reservoir sampling: each of n equals is kept with probability 1/n.
            if rng.u32(..ties) == 0 {
                best = Some(index);
            }
        }
    }
    best
}

/// Spreads bits (splitmix64's finaliser), so that near keys land far apart.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Rendezvous hashing (Thaler and Ravishankar, 1998), weighted: the candidate with the
/// highest score wins, and one that goes takes only its own share with it.
fn rendezvous_score(key: u64, candidate: &Candidate) -> f64 {
    let hash = mix(key ^ mix(candidate.name_hash));
    // Uniform in (0, 1): 53 bits and never zero.
    let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(candidate.weight) / unit.ln()
}
