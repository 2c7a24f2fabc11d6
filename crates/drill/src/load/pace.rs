//! A timer finer than the runtime's, whose millisecond ticks would show up in every
//! latency of an open loop.

use std::time::Instant;

#[cfg(target_os = "linux")]
mod imp {
    use super::Instant;
    use evenkeel_domain::clock;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use std::os::fd::OwnedFd;
    use tokio::io::unix::AsyncFd;

    /// Waits by a descriptor of the kernel's timer: some 50 µs exact.
    #[derive(Debug)]
    pub(crate) struct Pacer(AsyncFd<OwnedFd>);

    impl Pacer {
        pub(crate) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "an owned descriptor stays what it is, which is all \
                its unsafe successor asks for; unsafe code is forbidden here"
            )]
            let fd = AsyncFd::new(fd)?;
            Ok(Self(fd))
        }

        pub(crate) async fn until(&mut self, at: Instant) -> io::Result<()> {
            let wait = at.saturating_duration_since(clock::now());
            if wait.is_zero() {
                return Ok(());
            }
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let once = Itimerspec { it_interval: zero, it_value: wait.try_into().unwrap_or(zero) };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            loop {
                let mut ready = self.0.readable().await?;
                let mut count = [0; 8];
                let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut count)?));
                if let Ok(done) = read {
                    return done.map(drop);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::Instant;
    use std::io;

    /// The runtime's timer: exact to a millisecond.
    #[derive(Debug)]
    pub(crate) struct Pacer;

    impl Pacer {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn until(&mut self, at: Instant) -> io::Result<()> {
            tokio::time::sleep_until(at.into()).await;
            Ok(())
        }
    }
}

pub(crate) use imp::Pacer;

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::clock::now;
    use std::time::Duration;

    #[tokio::test]
    async fn it_waits_until_then_and_not_for_the_past() {
        let mut pacer = Pacer::new().unwrap();
        let start = now();
        pacer.until(start).await.unwrap();
        for step in 1..=20 {
            let due = start + Duration::from_micros(step * 300);
            pacer.until(due).await.unwrap();
            assert!(now() >= due);
        }
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
