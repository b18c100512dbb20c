//! A wall clock that a test sets, for one process: a small library before the C library, which adds what stands in a file. Clocks that only
//! go on are left alone, as they are where somebody sets a machine's time.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::Result;

/// `CLOCK_REALTIME` is 0 and `CLOCK_REALTIME_COARSE` 5.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static volatile long *jump;
static int (*own)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  own = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int file = open(getenv("ACUITY_TEST_CLOCK"), O_RDONLY);
  void *at = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
  if (at != MAP_FAILED) jump = at;
}

int clock_gettime(clockid_t which, struct timespec *time) {
  if (!own) begin();
  int failed = own(which, time);
  if (!failed && jump && (which == 0 || which == 5)) time->tv_sec += *jump;
  return failed;
}
"#;

/// The clock; it is right until it is set.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
}

impl Clock {
    /// Makes the library.
    ///
    /// # Errors
    /// Without a C compiler, which building this repository needs too.
    pub fn new() -> Result<Self> {
        let clock = Self { folder: tempfile::tempdir()? };
        let source = clock.folder.path().join("clock.c");
        std::fs::write(&source, SOURCE)?;
        clock.jump(0)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(&source).arg("-ldl");
        let output = compiler.output()?;
        if output.status.success() { Ok(clock) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }

    /// What goes before a command whose clock it is to be.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let file = self.folder.path().join("jump");
        let preload = format!("LD_PRELOAD={}", self.library().display());
        vec!["env".to_owned(), preload, format!("ACUITY_TEST_CLOCK={}", file.display())]
    }

    /// Sets it so many seconds ahead of the machine's, or behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn jump(&self, seconds: i64) -> Result<()> {
        // In place: whoever reads it has this very file before it.
        let path = self.folder.path().join("jump");
        let file = std::fs::File::options().write(true).create(true).truncate(false).open(path)?;
        Ok(std::os::unix::fs::FileExt::write_all_at(&file, &seconds.to_ne_bytes(), 0)?)
    }
}
