//! GPUs that are not there: a library built for each test replays what a file says.

use super::super::limits::tests::settings;
use super::super::runner::nobody;
use super::*;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

struct Stub {
    dir: TempDir,
}

impl Stub {
    fn new(says: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stub = Self { dir };
        stub.say(says);
        let file = format!("-DSTUB_FILE=\"{}\"", stub.file().display());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nvml/stub.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", &file, "-o"])
            .arg(stub.library())
            .arg(source)
            .output()
            .expect("a C compiler; `apt-get install gcc`");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        stub
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("says")
    }

    fn library(&self) -> std::path::PathBuf {
        self.dir.path().join("libnvidia-ml.so.1")
    }

    fn say(&self, says: &str) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, says).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn gpu(&self, more: &str) -> Box<dyn Source> {
        let library = self.library().display().to_string();
        build(&settings(&format!(r#"{{"kind":"gpu","library":"{library}"{more}}}"#)), &nobody())
            .unwrap()
    }
}

async fn look(gpu: &mut Box<dyn Source>) -> Vec<Part> {
    gpu.ask().await.unwrap().parts
}

/// Looks until what the first GPU says holds the text: events come when they come.
async fn until(gpu: &mut Box<dyn Source>, text: &str) -> Part {
    for _ in 0..50 {
        let part = look(gpu).await.remove(0);
        if part.said.as_ref().is_some_and(|(_, said)| said.contains(text)) {
            return part;
        }
    }
    panic!("`{text}` is not said")
}

const TWO: &str = "devices 2\n0 temperature 61\n0 memory 60 80\n0 busy 40\n0 ecc 0\n\
                   1 temperature 45\n1 memory 8 80\n";

#[tokio::test]
async fn what_each_gpu_tells_is_measured_and_the_rest_left_out() {
    let stub = Stub::new(TWO);
    let mut gpu = stub.gpu("");
    let parts = look(&mut gpu).await;
    let values = |part: &Part| -> Vec<(String, f64)> {
        part.values.iter().map(|v| (v.measure.clone(), v.value)).collect()
    };
    let named = |all: &[(&str, f64)]| -> Vec<(String, f64)> {
        all.iter().map(|(name, v)| ((*name).to_owned(), *v)).collect()
    };
    let all = [("memory", 0.75), ("temperature", 61.0), ("busy", 0.4), ("memory_errors", 0.0)];
    assert_eq!(values(&parts[0])[..4], named(&all));
    assert_eq!(values(&parts[1]), named(&[("memory", 0.1), ("temperature", 45.0), ("xids", 0.0)]));
    assert!(parts.iter().all(|part| part.said.is_none() && !part.certain));
    assert_eq!((&*parts[0].subject, &*parts[1].subject), ("GPU 0", "GPU 1"));
    for one in ["1", "GPU-stub-1"] {
        let mut gpu = stub.gpu(&format!(r#","gpu":"{one}""#));
        let parts = look(&mut gpu).await;
        assert!(parts.len() == 1 && &*parts[0].subject == "GPU 1");
    }
    let Err(Trouble::NoData(why)) = stub.gpu(r#","gpu":"7""#).ask().await else { panic!("none") };
    assert!(why.contains("there is no GPU `7` among 2"), "{why}");
}

#[tokio::test]
async fn xids_come_with_nvidias_classes() {
    let stub = Stub::new(TWO);
    let mut gpu = stub.gpu("");
    look(&mut gpu).await;
    stub.say(&format!("{TWO}0 xid 63 1\n0 xid 74 2\n"));
    let part = until(&mut gpu, "Xid 74: NVLink error (WORKFLOW_NVLINK_ERR").await;
    assert!(part.said.unwrap().0 == CheckState::Critical && !part.certain);
    stub.say(&format!("{TWO}0 xid 63 1\n0 xid 74 2\n0 xid 119 3\n"));
    let part = until(&mut gpu, "RESET_GPU").await;
    assert!(part.certain && part.values.iter().any(|v| v.measure == "xids" && v.value == 3.0));
    assert!(look(&mut gpu).await[1].said.is_none(), "the other one has nothing to do with it");
}

#[tokio::test]
async fn an_xid_of_what_runs_is_over_when_that_has_ended() {
    let running = format!("{TWO}0 pid 4242\n");
    let stub = Stub::new(&running);
    let mut gpu = stub.gpu("");
    look(&mut gpu).await;
    stub.say(&format!("{running}0 xid 31 1\n"));
    let part = until(&mut gpu, "RESTART_APP").await;
    assert!(part.certain);
    stub.say(&format!("{TWO}0 pid 4243\n0 xid 31 1\n"));
    assert!(look(&mut gpu).await[0].said.is_none());
}

#[tokio::test]
async fn memory_errors_slowing_down_and_a_lost_gpu_are_told() {
    let stub = Stub::new(TWO);
    let mut gpu = stub.gpu("");
    look(&mut gpu).await;
    // HW_SLOWDOWN (8) for HW_THERMAL_SLOWDOWN (64); a power cap (4) is its setting.
    stub.say(&format!("{TWO}0 slowed 76\n"));
    let (state, text) = until(&mut gpu, "slowed down").await.said.unwrap();
    assert!(state == CheckState::Warning && text.contains("too hot (hardware"), "{text}");
    stub.say(&format!("{TWO}0 slowed 4\n"));
    assert!(look(&mut gpu).await[0].said.is_none());
    stub.say(&TWO.replace("ecc 0", "ecc 2"));
    let part = until(&mut gpu, "2 uncorrected memory errors").await;
    assert!(part.said.unwrap().0 == CheckState::Critical && !part.certain);
    stub.say(&format!("{TWO}0 lost 1\n"));
    let part = until(&mut gpu, "fallen off the bus").await;
    assert!(part.certain && part.said.unwrap().1.contains("RESTART_BM: restart the machine"));
    let other = &look(&mut gpu).await[1];
    assert!(other.said.is_none() && other.values.len() == 3, "the other one goes on");
    stub.say(TWO);
    let part = until(&mut gpu, "uncorrected").await;
    assert!(!part.certain, "it is back; what it had before still stands");
}

#[tokio::test]
async fn without_a_library_or_a_driver_there_is_no_data() {
    let mut gpu = build(&settings(r#"{"kind":"gpu","library":"/no/lib.so"}"#), &nobody()).unwrap();
    for _ in 0..2 {
        let Err(Trouble::NoData(why)) = gpu.ask().await else { panic!("there is none") };
        assert!(why.contains("/no/lib.so") && why.contains("no GPU of NVIDIA's"), "{why}");
    }
    let stub = Stub::new("devices -1\n");
    let mut gpu = stub.gpu("");
    let Err(Trouble::NoData(why)) = gpu.ask().await else { panic!("no driver is loaded") };
    assert!(why.contains("no driver"), "{why}");
    // One that is loaded later is found.
    stub.say(TWO);
    assert_eq!(look(&mut gpu).await.len(), 2);
}
