//! The process itself, as every exporter of Prometheus names it, read from `/proc` at a scrape.

use prometheus::{Counter, Gauge, IntGauge, Opts, Registry};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The ticks of a second in `/proc`, the same on every architecture that Weir is built for.
const TICKS: f64 = 100.0;

/// The metrics of the process.
pub(super) struct Process {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    threads: IntGauge,
    open: IntGauge,
}

impl Process {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let cpu = Counter::new(
            "process_cpu_seconds_total",
            "Processor time used, user and system, in seconds.",
        )?;
        registry.register(Box::new(cpu.clone()))?;
        let start = Gauge::new(
            "process_start_time_seconds",
            "When the process started, in Unix seconds.",
        )?;
        registry.register(Box::new(start.clone()))?;
        start.set(started().unwrap_or_default());
        let most = gauge(
            "process_max_fds",
            "File descriptors that the process may have open.",
        )?;
        most.set(most_open().unwrap_or_default());
        let build = IntGauge::with_opts(
            Opts::new("weir_build_info", "1; the label says which build this is.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        registry.register(Box::new(build.clone()))?;
        build.set(1);
        Ok(Self {
            cpu,
            resident: gauge("process_resident_memory_bytes", "Memory in use, in bytes.")?,
            virtual_memory: gauge(
                "process_virtual_memory_bytes",
                "Addresses in use, in bytes.",
            )?,
            threads: gauge("process_threads", "Threads of the process.")?,
            open: gauge("process_open_fds", "File descriptors that are open.")?,
        })
    }

    /// Reads what it is now. What cannot be read stays as it was.
    pub(super) fn look(&self) {
        if let Some(used) = stat().and_then(|stat| {
            let (user, system) = (field(&stat, 14)?, field(&stat, 15)?);
            Some((user + system) / TICKS)
        }) {
            self.cpu.inc_by((used - self.cpu.get()).max(0.0));
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (name, gauge, unit) in [
            ("VmRSS:", &self.resident, 1024),
            ("VmSize:", &self.virtual_memory, 1024),
            ("Threads:", &self.threads, 1),
        ] {
            if let Some(value) = value(&status, name) {
                gauge.set(value.saturating_mul(unit));
            }
        }
        if let Some(open) = open() {
            self.open.set(open);
        }
    }
}

/// The number behind a name at the beginning of a line.
fn value(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn stat() -> Option<String> {
    fs::read_to_string("/proc/self/stat").ok()
}

/// A field of `stat`, by its number in proc(5). The second one may hold anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn started() -> Option<f64> {
    let begun = field(&stat()?, 22)? / TICKS;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs_f64() - (uptime - begun))
}

fn most_open() -> Option<i64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    value(&limits, "Max open files")
}

/// Kernels since 6.2 say how many there are; before, they have to be counted.
fn open() -> Option<i64> {
    const PLACE: &str = "/proc/self/fd";
    let said = fs::metadata(PLACE).ok()?.len();
    if said > 0 {
        return i64::try_from(said).ok();
    }
    i64::try_from(fs::read_dir(PLACE).ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_can_be_read() {
        let process = Process::new(&Registry::new()).unwrap();
        process.look();
        for gauge in [
            &process.resident,
            &process.virtual_memory,
            &process.threads,
            &process.open,
        ] {
            assert!(gauge.get() > 0);
        }
        assert!(process.cpu.get() >= 0.0);
        assert!(most_open().unwrap() > 0);
        assert!(started().unwrap() > 1e9);
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b)) S 1 2 3 4 5 6 7 8 9 10 11 12 13";
        assert_eq!(field(stat, 14), Some(11.0));
        assert_eq!(field("7", 14), None);
    }
}
