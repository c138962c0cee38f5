//! Surveys: walks over /proc, asked rarely, whose results stream. They run in a child that has CAP_SYS_PTRACE and
//! CAP_DAC_READ_SEARCH and opens no user's file; a child that makes no progress is killed, and its successor continues
//! after the process at which it hung.
//!
//! To add one: a file here; a variant of `Survey` and of `SurveyItem` (`survey.rs`), at the end; its line in `run`. A
//! file's identity is to be had without asking a user's file system: statx(2) of an O_PATH descriptor with
//! AT_STATX_DONT_SYNC, which FUSE and NFS answer from what the kernel holds.

mod processes;
mod survey;

use std::path::Path;

use self::survey::pids;
pub(super) use self::survey::{Course, Emit};
pub use self::survey::{Survey, SurveyItem};
use crate::host::holders;

/// Runs one, in the child.
pub(super) fn run(survey: &Survey, proc: &Path, course: &Course, out: &mut dyn Emit) {
    match survey {
        #[cfg(test)]
        Survey::Trial { hangs, crashes } => {
            for pid in pids(proc, course) {
                if out.at(pid) {
                    match pid {
                        pid if pid == *hangs => std::thread::sleep(std::time::Duration::from_secs(1000)),
                        pid if pid == *crashes => panic!("a trial"),
                        _ => out.emit(&SurveyItem::Pid(pid)),
                    }
                }
            }
        }
        Survey::Pids => {
            for pid in pids(proc, course) {
                if out.at(pid) {
                    out.emit(&SurveyItem::Pid(pid));
                }
            }
        }
        Survey::Processes => processes::run(proc, course, out),
        Survey::Gone(probed) => {
            let gone = holders::gone(proc, probed, &mut |pid| out.at(pid));
            out.emit(&SurveyItem::Gone(gone));
        }
    }
}
